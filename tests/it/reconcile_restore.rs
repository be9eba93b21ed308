//! Yesterday's backup is put back: what Stripe knows is there again before anything is done at Stripe, nothing is charged or
//! made twice, and whoever dies on the way leaves everything waiting.

use std::{collections::BTreeMap, path::Path, process::Command};

use counterfoil::sandbox::binaries::Binaries;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    reconcile_support::said,
    support::{process, shop::Shop, wait},
};

impl Shop {
    /// Ends the service, does something to its database with a tool of PostgreSQL's, and leaves it ended.
    async fn with_database(&mut self, tool: &str, arguments: &[&str], file: &Path) {
        self.app.kill();
        let program = Binaries::find().expect("PostgreSQL").directory().join(tool);
        let mut command = Command::new(program);
        let url = self.app.database.superuser_url();
        command.args(arguments).arg("--dbname").arg(url.expose_secret());
        if tool == "pg_dump" {
            command.arg("--file");
        }
        command.arg(file);
        let output = process::output(command).await;
        assert!(output.status.success(), "{tool}: {}", said(&output));
    }

    async fn back_up(&mut self, file: &Path) {
        self.with_database("pg_dump", &["--format=custom"], file).await;
        self.app.restart().await;
    }

    /// Puts a backup in the place of the database; the service is not started.
    async fn put_back(&mut self, file: &Path) {
        self.with_database("pg_restore", &["--clean", "--if-exists", "--exit-on-error"], file).await;
    }

    /// Waits until effects are carried out again.
    async fn recovers(&self) -> Value {
        wait::until("the ledger to have what Stripe knows", async || {
            let runs = self.runs().await;
            runs.into_iter().find(|run| run["kind"] == "recovery" && run["state"] == "done")
        })
        .await
    }

    /// No effect has made two things at Stripe.
    async fn nothing_was_made_twice(&self) {
        for kind in ["customer", "checkout.session", "refund"] {
            let mut made: BTreeMap<String, usize> = BTreeMap::new();
            for object in self.stripe.objects(kind).await {
                if let Some(effect) = object["metadata"]["counterfoil_effect"].as_str() {
                    *made.entry(effect.to_owned()).or_default() += 1;
                }
            }
            assert!(made.values().all(|count| *count == 1), "{kind}: {made:?}");
        }
    }
}

#[tokio::test]
async fn yesterdays_backup_ends_with_no_double_charge_and_no_lost_credit() {
    let mut shop = Shop::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("backup");
    for name in ["bob", "carol", "dave"] {
        shop.app.account_with(name, 0).await;
    }
    let (alices, _) = shop.sold_to("alice").await;
    let bobs = shop.check_out("bob", "bob's").await;
    shop.outbox_empties().await;
    // Carol's order is placed, and nothing of it is made yet when the backup is.
    shop.fault(json!({"api": "down", "method": "POST"})).await;
    let body = json!({"account_id": "carol", "price_id": "price_pack"});
    let waiting = shop.app.keyed("/v1/checkout-sessions", "carol's", &body).await;
    assert_eq!(waiting.status, 202, "{waiting:?}");
    shop.back_up(&file).await;
    shop.no_more_faults().await;
    shop.app.kill();
    shop.app.time_passes(60).await;
    shop.app.restart().await;

    // The day that is lost.
    let carols = shop.check_out_patiently("carol", "carol's").await;
    for checkout in [&bobs, &carols, &shop.check_out("dave", "dave's").await] {
        shop.pay(checkout).await;
    }
    assert_eq!(shop.refund(&alices, "back", json!({"amount": 250})).await.status, 201);
    for (name, available) in [("alice", 50), ("bob", 100), ("carol", 100), ("dave", 100)] {
        shop.settles_at(name, (available, 0, 0)).await;
    }
    shop.outbox_empties().await;
    shop.nothing_was_made_twice().await;
    let (sessions, refunds) = (shop.at_stripe("checkout.session").await, shop.at_stripe("refund").await);

    shop.put_back(&file).await;
    shop.webhooks_are_lost().await;
    shop.app.restart().await;
    let run = shop.recovers().await;
    assert_eq!((&run["actor"], &run["error"]), (&json!("system"), &Value::Null), "{run}");
    for (name, available) in [("alice", 50), ("bob", 100), ("carol", 100), ("dave", 100)] {
        shop.settles_at(name, (available, 0, 0)).await;
    }
    shop.app.kill();
    shop.app.time_passes(60).await;
    shop.app.restart().await;
    shop.outbox_empties().await;
    shop.nothing_was_made_twice().await;
    let now = (shop.at_stripe("checkout.session").await, shop.at_stripe("refund").await);
    assert_eq!(now, (sessions, refunds));
    shop.reconciles(&[]).await;
    shop.no_more_faults().await;
    let again = shop.check_out("dave", "another").await;
    shop.pay(&again).await;
    shop.settles_at("dave", (200, 0, 0)).await;
    shop.verify().await;
}

#[tokio::test]
async fn nothing_is_done_at_stripe_before_it_was_asked_however_often_the_process_dies() {
    let mut shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    shop.fault(json!({"api": "down", "path": "/v1/events"})).await;
    let superuser = shop.app.database.superuser().await;
    // What a writer leaves that saw its history end too early.
    let lost = "UPDATE ledger_heads SET incarnation = gen_random_uuid()";
    superuser.batch_execute(lost).await.expect("a head");
    for _ in 0..2 {
        let body = json!({"account_id": "alice", "price_id": "price_pack"});
        let waiting = shop.app.keyed("/v1/checkout-sessions", "order", &body).await;
        assert_eq!(waiting.status, 202, "{waiting:?}");
        wait::until("a run that does not succeed", async || {
            let runs = shop.runs().await;
            runs.iter().any(|run| run["kind"] == "recovery" && run["state"] == "failed").then_some(())
        })
        .await;
        assert_eq!((shop.at_stripe("customer").await, shop.outbox().await.len()), (0, 2));
        shop.app.restart().await;
        shop.leases_run_out().await;
    }
    wait::until("the operator's dashboard to show it", async || {
        (shop.metric("counterfoil_reconciliation_paused_ledgers").await >= 1.0).then_some(())
    })
    .await;
    shop.no_more_faults().await;
    shop.recovers().await;
    let checkout = shop.check_out_patiently("alice", "order").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
}

#[tokio::test]
async fn an_operator_who_puts_files_back_says_so_and_everything_waits_until_stripe_was_asked() {
    let shop = Shop::open().await;
    let (_, payment) = shop.sold_to("alice").await;
    shop.webhooks_are_lost().await;
    shop.gives_back(&payment, 500).await;
    shop.reconciles(&["--restored"]).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    assert!(shop.runs().await.iter().any(|run| run["kind"] == "recovery" && run["actor"] == "operator"));
    shop.no_more_faults().await;
    shop.check_out("alice", "goes on").await;
}
