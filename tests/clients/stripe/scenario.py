"""Sells and refunds with Stripe's own client, against a simulator that it takes for Stripe.

Takes STRIPE_URL, STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET from the environment, and the file with a received webhook
from the command line if there is one: the first line is its signature, the rest its body.
"""

import json
import os
import sys
import urllib.request

import stripe

URL = os.environ["STRIPE_URL"]
client = stripe.StripeClient(
    os.environ["STRIPE_API_KEY"],
    base_addresses={"api": URL},
    max_network_retries=2,
)


def control(path: str, order: dict[str, str]) -> None:
    request = urllib.request.Request(
        f"{URL}/_control/{path}",
        data=json.dumps(order).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def sell_and_refund() -> None:
    customer = client.v1.customers.create(
        {"email": "alice@example.com", "metadata": {"counterfoil_account": "alice"}},
        {"idempotency_key": "customer-alice"},
    )
    again = client.v1.customers.create(
        {"email": "alice@example.com", "metadata": {"counterfoil_account": "alice"}},
        {"idempotency_key": "customer-alice"},
    )
    assert again.id == customer.id
    price = client.v1.prices.create(
        {
            "currency": "eur",
            "unit_amount": 1000,
            "product_data": {"name": "100 credits"},
            "metadata": {"credits": "100"},
        }
    )
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer.id,
            "line_items": [{"price": price.id, "quantity": 2}],
            "success_url": "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
            "payment_intent_data": {"metadata": {"counterfoil_order": "ord_1"}},
        }
    )
    assert session.url is not None and session.url.startswith(URL)
    assert session.payment_status == "unpaid"
    control(f"checkout_sessions/{session.id}/complete", {"outcome": "paid"})

    session = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["line_items", "payment_intent.latest_charge"]}
    )
    assert session.payment_status == "paid" and session.amount_total == 2000
    assert session.line_items is not None and session.line_items.data[0].quantity == 2
    intent = session.payment_intent
    assert isinstance(intent, stripe.PaymentIntent) and intent.metadata["counterfoil_order"] == "ord_1"

    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert refund.status == "succeeded"
    try:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 5000})
    except stripe.InvalidRequestError as error:
        assert error.http_status == 400 and error.param == "amount" and error.request_id
    else:
        raise AssertionError("more was refunded than was paid")
    try:
        client.v1.customers.retrieve("cus_nobody")
    except stripe.InvalidRequestError as error:
        assert error.code == "resource_missing" and error.http_status == 404
    try:
        client.v1.customers.create({"nonsense": "x"})  # type: ignore[typeddict-unknown-key]
    except stripe.InvalidRequestError as error:
        assert error.code == "parameter_unknown"

    types = [event.type for event in client.v1.events.list({"limit": 2}).auto_paging_iter()]
    for wanted in ("customer.created", "charge.succeeded", "checkout.session.completed", "refund.created", "charge.refunded"):
        assert wanted in types, f"{wanted} is not among {types}"


def retry_as_stripes_client_does() -> None:
    """A lost answer and a busy server are repeated by the client itself, with the same key."""
    for fault in ("cut", "rate_limit", "conflict"):
        control("faults", {"api": fault, "next": 1, "seconds": 0})  # type: ignore[dict-item]
        before = len(client.v1.customers.list({"limit": 100}).data)
        if fault == "cut":
            # The listing was cut and repeated; order the fault for the creation as well.
            control("faults", {"api": fault, "method": "POST", "next": 1})  # type: ignore[dict-item]
        client.v1.customers.create({"name": fault})
        assert len(client.v1.customers.list({"limit": 100}).data) == before + 1, fault


def verify(path: str) -> None:
    with open(path, "rb") as file:
        signature, body = file.read().split(b"\n", 1)
    secret = os.environ["STRIPE_WEBHOOK_SECRET"]
    event = client.construct_event(body, signature.decode(), secret)
    assert event.type == "customer.created"
    try:
        client.construct_event(body + b" ", signature.decode(), secret)
    except stripe.SignatureVerificationError:
        pass
    else:
        raise AssertionError("a changed body was believed")


if len(sys.argv) > 1:
    verify(sys.argv[1])
else:
    sell_and_refund()
    retry_as_stripes_client_does()
