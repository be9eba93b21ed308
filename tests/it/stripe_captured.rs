//! What each captured body in `../shared/stripe/webhooks` yields, as a table: bodies that Stripe really sent, in API
//! versions from 2017 to 2025. Without that folder the tests say so and pass; our own bodies cover the same rules.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::stripe_bodies::describe;

/// The folder of captured bodies, if it is on this machine.
fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("COUNTERFOIL_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = shared.unwrap_or(beside).join("stripe/webhooks");
    if !folder.is_dir() {
        println!("no captured bodies at {}: nothing to compare", folder.display());
        return None;
    }
    Some(folder)
}

/// The captured events of a type, by name; none if they are not on this machine.
pub fn bodies(event_type: &str) -> Vec<(&'static str, Value)> {
    let Some(folder) = folder() else { return Vec::new() };
    let names = TABLE.iter().map(|(name, _)| *name).filter(|name| name.starts_with(event_type));
    names.map(|name| (name, serde_json::from_slice(&read(&folder, name)).expect("JSON"))).collect()
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(format!("{name}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const NOT_USED: &str = "ignored: type_not_used";

const TABLE: &[(&str, &str)] = &[
    (
        "charge.dispute.created__2020-03-02__1",
        "pi_PCgMYCUpXWESxHcNCWyadRWt: dp_cFMtuSArxMFDRXjPBQZaELWG Inquiry 1000 usd",
    ),
    ("charge.dispute.created__2020-08-27__1", "ignored: no_payment_intent"),
    (
        "charge.dispute.funds_reinstated__2017-12-14__1",
        "needs `payment_intent` of dispute dp_00000000000000 from Stripe",
    ),
    (
        "charge.dispute.funds_withdrawn__2017-12-14__1",
        "needs `payment_intent` of dispute dp_00000000000000 from Stripe",
    ),
    (
        "charge.dispute.funds_withdrawn__2020-03-02__1",
        "pi_test_payment_intent: du_test_charge_dispute Open 4995 usd",
    ),
    ("charge.refund.updated__2020-08-27__1", "ignored: no_payment_intent"),
    (
        "charge.refund.updated__2025-08-27.basil__1",
        "pi_U2DEoJGdBFs2BH5HeRsc7h9Y: re_hTZmnQjudgYfsWJRMFUSfZHo succeeded 1449 eur",
    ),
    (
        "charge.refunded__2020-03-02__1",
        "pi_uzPp4sM2UeyVjfFDCLbhMacT: re_88ovaBUnsxKLwcJnYWrr7iP6 succeeded 2500 usd, \
         ch_V3EM6HiSVeTYCWvfcFBqq6gK refunded 2500 usd",
    ),
    ("charge.refunded__2020-08-27__1", "ignored: no_payment_intent"),
    ("checkout.session.completed__2020-03-02__1", "ignored: no_marker"),
    ("checkout.session.completed__2020-08-27__1", "ignored: no_marker"),
    // Somebody's reference, but perhaps one of our accounts: the line items would tell.
    (
        "checkout.session.completed__2025-12-15.clover__1",
        "needs `line_items` of checkout.session \
         cs_test_PEWCxN8z35KPTtCy8qDuSDVPWrowH2XLQKfqU2J8ZkYocEt8PEhqFSDYuN from Stripe",
    ),
    (
        "customer.subscription.created__2020-03-02__1",
        "subscription sub_RayNAtWkfYQybL active, 1 x price_qxkffKmuTykKJjrpVTGaT5eM, 1 x price_qxkffKmuTykKJjrpVTGaT5eM, until 2021-07-08T10:41:58.000000Z, as of 2021-06-08T10:41:58.000000Z",
    ),
    (
        "customer.subscription.created__2025-12-15.clover__1",
        "subscription sub_PDrJMMRpfaLAGz8VAMUWawA2 active, 1 x price_hcaSKceW8Xz8hsWNFEVxaVte, until 2026-01-28T01:45:18.000000Z, as of 2025-12-28T01:45:21.000000Z",
    ),
    (
        "customer.subscription.deleted__2020-03-02__1",
        "subscription sub_RayNAtWkfYQybL canceled, 1 x price_qxkffKmuTykKJjrpVTGaT5eM, until 2021-07-08T10:41:58.000000Z, as of 2021-06-08T10:45:02.999999Z",
    ),
    (
        "customer.subscription.deleted__2020-08-27__1",
        "subscription sub_000000000000000000000000 canceled, 1 x price_000000000000000000000000, until 2022-04-26T18:41:36.000000Z, as of 2022-03-26T18:41:37.999999Z",
    ),
    (
        "customer.subscription.updated__2020-03-02__1",
        "subscription sub_TbcbLJYTjMs6Zf active, 1 x price_qxkffKmuTykKJjrpVTGaT5eM, until 2021-05-21T04:45:44.000000Z, as of 2021-04-29T14:33:40.000001Z",
    ),
    (
        "customer.subscription.updated__2025-08-27.basil__1",
        "subscription sub_A8HB5gpSeSqTnMqyVHkQn3BD active, 1 x price_YoH372cMcutPq2XFLSrZehMb, until 2025-09-27T20:37:22.000000Z, as of 2025-09-26T20:37:38.000001Z",
    ),
    (
        "invoice.paid__2020-03-02__1",
        "invoice in_zyxmXpBVFi59mJ2jv2NJWvFq of sub_f69rq2i2EwGqsL, for 0 usd (tax 0), no payment: 0 for 1 x price_qxkffKmuTykKJjrpVTGaT5eM",
    ),
    ("invoice.paid__2020-08-27__1", "ignored: no_subscription"),
    ("invoice.payment_failed__2020-08-27__1", NOT_USED),
    ("invoice.payment_succeeded__2020-08-27__1", "ignored: no_subscription"),
    ("payment_intent.payment_failed__2020-08-27__1", NOT_USED),
    ("payment_intent.requires_action__2020-08-27__1", NOT_USED),
    ("payment_intent.succeeded__2020-03-02__1", NOT_USED),
    (
        "price.created__2020-03-02__1",
        "price price_XBJYPiWAFRqBkZctieWVibjb of prod_gzn3fe6DvLXvMB as of 2021-06-08T10:49:24.000000Z, 400 usd, \
         inactive, each 1 Month",
    ),
    (
        "price.deleted__2020-08-27__1",
        "price plan_00000000000000 of prod_00000000000000 as of 2022-03-26T18:40:48.999999Z, 2000 usd, inactive, \
         deleted, each 1 Month",
    ),
    (
        "price.updated__2020-03-02__1",
        "price price_qxkffKmuTykKJjrpVTGaT5eM of prod_gzn3fe6DvLXvMB as of 2021-04-29T13:40:58.000001Z, 2500 usd, \
         active, each 1 Month",
    ),
    (
        "price.updated__2020-08-27__1",
        "price price_000000000000000000000000 of prod_00000000000000 as of 2022-03-26T18:40:56.000001Z, 1500 usd, \
         active, each 1 Month",
    ),
    (
        "product.deleted__2020-03-02__1",
        "product prod_sZrFBufUswKTWa as of 2021-06-08T10:49:33.999999Z, fake product, inactive, deleted",
    ),
    (
        "product.updated__2020-03-02__1",
        "product prod_gzn3fe6DvLXvMB as of 2021-04-29T11:57:10.000001Z, Pro tier, active",
    ),
];

#[test]
fn every_captured_body_yields_what_the_table_says() {
    let Some(folder) = folder() else { return };
    for (name, expected) in TABLE {
        assert_eq!(describe(&read(&folder, name)), *expected, "{name}");
    }
}

#[test]
fn every_captured_body_has_its_line_in_the_table() {
    let Some(folder) = folder() else { return };
    let files: BTreeSet<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let lines: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, lines);
}
