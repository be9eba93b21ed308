// What a TypeScript client does with the ledger: open an account, grant, spend, be refused, repeat a key.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import createClient from "openapi-fetch";

import type { components, paths } from "./counterfoil.js";

type Code = components["schemas"]["ErrorCode"];

const baseUrl = process.env["COUNTERFOIL_URL"];
const apiKey = process.env["COUNTERFOIL_API_KEY"];
assert(baseUrl !== undefined && apiKey !== undefined);

const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${apiKey}` } });
const account = `typescript-${randomUUID()}`;
const path = { account };

const opening = { account_id: account, email: "ada@example.com" };
const opened = await client.POST("/v1/accounts", { body: opening });
assert.equal(opened.response.status, 201);
assert.equal(opened.data?.email, "ada@example.com");
const again = await client.POST("/v1/accounts", { body: opening });
assert.equal(again.response.status, 200);
assert.equal(again.data?.created_at, opened.data?.created_at);

const grant = (key: string, amount: number) =>
  client.POST("/v1/accounts/{account}/grants", {
    params: { path, header: { "Idempotency-Key": key } },
    body: { unit: "credits", amount, reason: "welcome" },
  });
const granted = await grant(`grant-${account}`, 100);
assert.equal(granted.response.status, 201);
assert.equal(granted.data?.balance.available, 100);
assert.equal(granted.data?.expires_at, null);
assert.equal(granted.response.headers.get("Idempotent-Replayed"), null);
const repeated = await grant(`grant-${account}`, 100);
assert.equal(repeated.response.headers.get("Idempotent-Replayed"), "true");
assert.deepEqual(repeated.data, granted.data);
const reused = await grant(`grant-${account}`, 101);
assert.equal(reused.response.status, 409);
assert.equal(reused.error?.error.code, "idempotency_key_reused" satisfies Code);

const spend = (key: string, amount: number) =>
  client.POST("/v1/accounts/{account}/spends", {
    params: { path, header: { "Idempotency-Key": key } },
    body: { unit: "credits", amount },
  });
const spent = await spend(`spend-${account}`, 30);
assert.equal(spent.response.status, 201);
assert.equal(spent.data?.feature, null);
assert.deepEqual(spent.data?.draws, [{ lot_id: granted.data?.lot_id, amount: 30 }]);

const refused = await spend(`more-${account}`, 71);
assert.equal(refused.response.status, 402);
assert.equal(refused.error?.error.code, "insufficient_credits" satisfies Code);
const { unit, available, required } = refused.error.error.detail;
assert.deepEqual([unit, available, required], ["credits", 70, 71]);

const token = spent.response.headers.get("X-Position-Token");
assert(token !== null);
const params = { path, query: { min_position: token } };
const balance = await client.GET("/v1/accounts/{account}/balance", { params });
const book = balance.data?.balances.find((book) => book.unit === "credits");
assert.equal(book?.available, 70);
const history = await client.GET("/v1/accounts/{account}/history", { params });
const types = history.data?.items.map((item) => item.type);
assert.deepEqual(types, ["credits.spent", "credits.granted", "account.opened"]);
assert.equal(history.data?.next_cursor, null);
