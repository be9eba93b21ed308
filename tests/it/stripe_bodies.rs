//! What each webhook body of our own yields, as a table: one line for each file in `webhook_bodies/`.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use counterfoil::{
    domain::{
        listing::{PriceMode, ProductListing, Terms},
        payment::PaymentFact,
    },
    stripe::{
        self, Event, Fact, InvoicedLine, NoFact, PaidInvoice, PaidSession, PriceReport, SubscriptionReport,
    },
};

/// Says in one line what a body tells the ledger.
pub fn describe(body: &[u8]) -> String {
    let extracted = Event::parse(body).map_err(NoFact::from).and_then(|event| stripe::extract(&event));
    match extracted {
        Ok(Fact::SessionPaid(session)) => describe_paid(&session),
        Ok(Fact::SessionClosed(closed)) => {
            format!("closed {}: {:?}, order {}", closed.session, closed.ending, closed.order)
        }
        Ok(Fact::SubscriptionBegun(begun)) => {
            let account =
                begun.account.map_or("nobody".to_owned(), |account| account.account_id().to_owned());
            format!("begun {} by {}, account {account}", begun.subscription, begun.session)
        }
        Ok(Fact::SubscriptionTold(report)) => describe_subscription(&report),
        Ok(Fact::InvoicePaid(invoice)) => describe_invoice(&invoice),
        Ok(Fact::CustomerDeleted(customer)) => format!("deleted {customer}"),
        Ok(Fact::PaymentReport(report)) => {
            let facts: Vec<String> = report.facts.iter().map(describe_fact).collect();
            format!("{}: {}", report.payment_intent, facts.join(", "))
        }
        Ok(Fact::CreditedElsewhere(told)) => {
            let of = told.subscription.map_or("no subscription".to_owned(), |id| id.to_string());
            format!("{} of an invoice paid by {:?}, {of}", told.note, told.paid_by)
        }
        Ok(Fact::PriceTold(report)) => describe_price(&report),
        Ok(Fact::ProductTold(report)) => {
            format!("product {} {}", report.product, describe_product(&report.listing))
        }
        Err(NoFact::Ignored(ignored)) => format!("ignored: {}", ignored.code()),
        Err(other) => other.to_string(),
    }
}

fn describe_subscription(report: &SubscriptionReport) -> String {
    let terms = &report.terms;
    let mut words = vec![format!("subscription {} {}", report.subscription, terms.status.as_str())];
    words.extend(report.account.as_ref().map(|account| account.account_id().to_owned()));
    words.extend(report.order.map(|order| format!("order {order}")));
    words.extend(terms.items.iter().map(|item| format!("{} x {}", item.quantity, item.price)));
    words.extend(terms.period_end.map(|end| format!("until {end}")));
    words.extend(terms.cancel_at_period_end.then(|| "and no longer".to_owned()));
    words.extend(terms.collection_paused.then(|| "paused".to_owned()));
    words.push(format!("as of {}", terms.as_of));
    words.join(", ")
}

fn describe_invoice(invoice: &PaidInvoice) -> String {
    let mut words = vec![format!("invoice {} of {}", invoice.invoice, invoice.subscription)];
    words.extend(invoice.account.as_ref().map(|account| account.account_id().to_owned()));
    let (money, came_to) = (invoice.money, invoice.came_to);
    words.push(format!("for {} {} (tax {})", money.gross, money.currency, money.tax));
    words.extend((came_to != money).then(|| format!("of {} (tax {})", came_to.gross, came_to.tax)));
    words.push(invoice.payment_intent.as_ref().map_or("no payment".to_owned(), ToString::to_string));
    words.extend(invoice.is_change.then(|| "a change".to_owned()));
    let line = |line: &InvoicedLine| {
        let price = line.price.as_ref().map_or("nothing of it".to_owned(), ToString::to_string);
        let quantity = line.quantity.map_or(0, |quantity| quantity.get());
        let prorated = if line.prorated { ", prorated" } else { "" };
        format!("{} for {quantity} x {price}{prorated}", line.amount)
    };
    let lines: Vec<String> = invoice.lines.iter().map(line).collect();
    format!("{}: {}", words.join(", "), lines.join(", "))
}

fn describe_paid(session: &PaidSession) -> String {
    let mut words = vec![format!("paid {}", session.session)];
    words.extend(session.account.as_ref().map(|account| format!("account {}", account.account_id())));
    words.extend(session.order.map(|paid| format!("order {} of {}", paid.order, paid.subtotal)));
    words.extend(session.credits.as_ref().map(|credits| {
        let unit = credits.unit.as_ref().map_or("of the only unit", |unit| unit.as_str());
        format!("{} {unit}", credits.amount)
    }));
    words.extend(session.prices.iter().map(|sold| format!("{} x {}", sold.quantity, sold.price)));
    words.push(format!("for {} {} (tax {})", session.money.gross, session.money.currency, session.money.tax));
    words.push(session.payment_intent.as_ref().map_or("no payment".to_owned(), ToString::to_string));
    words.join(", ")
}

fn describe_price(report: &PriceReport) -> String {
    let listing = &report.listing;
    let mut words = vec![format!("price {} of {} as of {}", report.price, listing.product, listing.as_of)];
    words.extend(listing.nickname.clone());
    let money = listing.money.map(|money| format!("{} {}", money.amount, money.currency));
    words.push(money.unwrap_or_else(|| "no one amount".to_owned()));
    words.push(if listing.active { "active" } else { "inactive" }.to_owned());
    words.extend(listing.deleted.then(|| "deleted".to_owned()));
    words.push(match listing.mode {
        PriceMode::OneTime => "once".to_owned(),
        PriceMode::Recurring(period) => format!("each {} {:?}", period.count, period.interval),
    });
    words.extend(describe_terms(&listing.terms));
    words.extend(
        listing.product_listing.iter().map(|product| format!("product {}", describe_product(product))),
    );
    words.join(", ")
}

fn describe_product(listing: &ProductListing) -> String {
    let mut words = vec![format!("as of {}", listing.as_of)];
    words.extend(listing.name.clone());
    words.push(if listing.active { "active" } else { "inactive" }.to_owned());
    words.extend(listing.deleted.then(|| "deleted".to_owned()));
    words.extend(describe_terms(&listing.terms));
    words.join(", ")
}

fn describe_terms(terms: &Terms) -> Vec<String> {
    let lasting = |days: Option<u32>| days.map(|days| format!(" for {days} days")).unwrap_or_default();
    let single = terms.credits.map(|credits| {
        let unit = terms.unit.as_ref().map_or("of the only unit", |unit| unit.as_str());
        format!("grants {credits} {unit}{}", lasting(terms.expires_days))
    });
    let several = terms.grants.iter().flatten();
    let several =
        several.map(|grant| format!("grants {} {}{}", grant.amount, grant.unit, lasting(grant.expires_days)));
    single.into_iter().chain(several).collect()
}

fn describe_fact(fact: &PaymentFact) -> String {
    match fact {
        PaymentFact::Refund { refund, status, amount, currency, request } => {
            let answers = request.map_or(String::new(), |request| format!(" answers {request}"));
            format!("{refund} {} {amount} {currency}{answers}", status.as_str())
        }
        PaymentFact::ChargeRefunded { charge, amount_refunded, currency } => {
            format!("{charge} refunded {amount_refunded} {currency}")
        }
        PaymentFact::FraudWarning { warning } => format!("{warning} warns"),
        PaymentFact::CreditNote { note, status, amount, currency } => {
            format!("{note} {status:?} {amount} {currency}")
        }
        PaymentFact::Dispute { dispute, status, amount, currency } => {
            format!("{dispute} {status:?} {amount} {currency}")
        }
    }
}

/// The body in `webhook_bodies/` with this name.
pub fn body(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all of them.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|(name, _)| *name).collect()
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/webhook_bodies")
}

const TABLE: &[(&str, &str)] = &[
    ("charge_dispute_closed__2020-03-02_charge_refunded", "pi_disputed: du_refunded Won 2000 eur"),
    ("charge_dispute_closed__lost", "pi_disputed: du_lost Lost 2000 eur"),
    ("charge_dispute_closed__prevented", "pi_disputed: du_prevented Won 2000 eur"),
    ("charge_dispute_closed__unknown_status", "`data.object.status` has an unknown value"),
    ("charge_dispute_closed__warning", "pi_disputed: du_inquiry2 Inquiry 2000 eur"),
    ("charge_dispute_closed__won", "pi_disputed: du_won Won 1500 eur"),
    ("charge_dispute_created", "pi_creditsInMetadata: du_1 Open 2000 eur"),
    ("charge_dispute_created__2020-08-27_inquiry", "pi_disputed: du_inquiry Inquiry 2000 eur"),
    ("charge_dispute_created__without_payment_intent", "ignored: no_payment_intent"),
    ("charge_dispute_funds_reinstated__before_the_verdict", "pi_disputed: du_back Open 2000 eur"),
    ("charge_dispute_funds_withdrawn__2017-12-14", "needs `payment_intent` of dispute du_old from Stripe"),
    ("charge_dispute_updated__payment_intent_in_charge", "pi_disputed: du_expanded Open 2000 eur"),
    ("charge_dispute_updated__without_status", "needs `status` of dispute du_silent from Stripe"),
    ("charge_refund_updated__2020-08-27", "pi_august2020: re_august2020 failed 2000 eur"),
    (
        "charge_refunded__2020-08-27_refunds_of_another_payment",
        "`data.object.refunds.data[0].payment_intent` contradicts `charge`",
    ),
    (
        "charge_refunded__2020-08-27_with_refunds",
        "pi_august2020: re_second pending 1000 eur, re_first succeeded 500 eur, ch_august2020 refunded 1500 eur",
    ),
    (
        "charge_refunded__2022-11-15_expanded_payment_intent",
        "pi_creditsInMetadata: ch_creditsInMetadata refunded 500 eur",
    ),
    ("charge_refunded__half", "pi_creditsInMetadata: ch_creditsInMetadata refunded 1000 eur"),
    ("charge_refunded__negative", "`data.object.amount_refunded` is out of range"),
    ("charge_refunded__nothing", "ignored: nothing_refunded"),
    ("charge_refunded__whole", "pi_creditsInMetadata: ch_creditsInMetadata refunded 2000 eur"),
    ("charge_refunded__without_payment_intent", "ignored: no_payment_intent"),
    ("credit_note_created__2020-03-02_pre_payment", "ignored: nothing_credited"),
    ("credit_note_created__2024-06-20_balance", "pi_in_old: cn_oldBalance Succeeded 1000 eur"),
    ("credit_note_created__2024-06-20_refund", "ignored: nothing_credited"),
    (
        "credit_note_created__2024-06-20_refund_and_balance",
        "needs `refunds` of credit_note cn_oldBoth from Stripe",
    ),
    ("credit_note_created__2024-06-20_refund_and_out_of_band", "pi_in_old: cn_oldOutside Succeeded 250 eur"),
    ("credit_note_created__all_refunded", "ignored: nothing_credited"),
    ("credit_note_created__balance", "needs `invoice` of credit_note cn_balance from Stripe"),
    ("credit_note_created__balance_expanded", "pi_in_new: cn_expanded Succeeded 1000 eur"),
    (
        "credit_note_created__invoice_paid_outside_of_stripe",
        "cn_bank of an invoice paid by OutsideOfStripe, sub_of_nobody",
    ),
    ("credit_note_created__mixed", "pi_in_new: cn_mixed Succeeded 600 eur"),
    (
        "credit_note_created__mixed_of_unknown_parts",
        "needs `post_payment_amount` of credit_note cn_parts from Stripe",
    ),
    (
        "credit_note_created__more_refunded_than_given",
        "`data.object.refunds` contradicts `post_payment_amount`",
    ),
    ("credit_note_created__nothing_paid", "ignored: nothing_paid"),
    ("credit_note_created__other_ledger", "pi_in_new: cn_other Succeeded 1000 eur"),
    ("credit_note_created__out_of_band", "pi_in_new: cn_outOfBand Succeeded 1000 eur"),
    ("credit_note_created__paid_from_balance", "cn_wholly of an invoice paid by Balance, sub_of_nobody"),
    (
        "credit_note_created__payments_at_stripe",
        "needs `invoice.payments` of credit_note cn_payments from Stripe",
    ),
    ("credit_note_created__pre_payment", "ignored: nothing_credited"),
    ("credit_note_created__refund_and_balance", "pi_in_new: cn_bothWays Succeeded 700 eur"),
    ("credit_note_created__refund_outside_of_stripe", "pi_in_new: cn_record Succeeded 400 eur"),
    ("credit_note_created__refund_without_amount", "needs `refunds` of credit_note cn_noAmount from Stripe"),
    ("credit_note_created__two_payments", "`data.object.invoice.payments` contradicts `amount_paid`"),
    ("credit_note_created__two_refunds", "pi_in_new: cn_twoRefunds Succeeded 250 eur"),
    ("credit_note_created__unknown_invoice", "pi_of_nobody: cn_unknown Succeeded 1000 eur"),
    ("credit_note_created__unknown_status", "`data.object.status` has an unknown value"),
    ("credit_note_updated__memo", "pi_in_new: cn_expanded Succeeded 1000 eur"),
    ("credit_note_voided", "pi_in_new: cn_expanded Cancelled 1000 eur"),
    ("customer_created", "ignored: type_not_used"),
    ("customer_deleted", "deleted cus_gone"),
    ("customer_updated", "ignored: type_not_used"),
    ("envelope_of_unknown_kind", "`object` has an unknown value"),
    ("envelope_without_data", "`data` is missing"),
    ("invoice_paid__but_open", "`data.object.status` contradicts `type`"),
    (
        "invoice_paid__half_from_balance",
        "invoice in_balance of sub_1, customer-7, for 1190 eur (tax 190), of 2380 (tax 380), pi_in_balance: 2000 for 1 x price_demo_pro",
    ),
    (
        "invoice_paid__lowered_by_a_credit_note",
        "invoice in_lowered of sub_1, customer-7, for 1190 eur (tax 190), of 1785 (tax 285), pi_in_lowered: 2000 for 1 x price_demo_pro",
    ),
    ("invoice_paid__more_lines_at_stripe", "needs `lines` of invoice in_long from Stripe"),
    (
        "invoice_paid__new_shape",
        "invoice in_new of sub_1, customer-7, for 2380 eur (tax 380), pi_in_new: 2000 for 1 x price_demo_pro",
    ),
    ("invoice_paid__of_no_subscription", "ignored: no_subscription"),
    (
        "invoice_paid__old_shape",
        "invoice in_old of sub_1, customer-7, for 2380 eur (tax 380), pi_in_old: 2000 for 2 x price_demo_pro, 100 for 1 x \
         nothing of it",
    ),
    (
        "invoice_paid__outside_of_stripe",
        "invoice in_bank of sub_1, customer-7, for 2380 eur (tax 380), no payment: 2000 for 1 x price_demo_pro",
    ),
    ("invoice_paid__payments_at_stripe", "needs `payments` of invoice in_without_payments from Stripe"),
    (
        "invoice_paid__trial",
        "invoice in_trial of sub_1, customer-7, for 0 eur (tax 0), no payment: 0 for 1 x price_demo_pro",
    ),
    ("invoice_paid__two_payments", "`data.object.payments` contradicts `amount_paid`"),
    ("invoice_payment_paid", "needs `lines` of invoice in_new from Stripe"),
    (
        "invoice_payment_succeeded__prorated",
        "invoice in_change of sub_1, customer-7, for 1000 eur (tax 0), pi_in_change, a change: -1000 for 1 x price_demo_pro, \
         prorated, 2000 for 1 x price_demo_team, prorated",
    ),
    ("key_given_twice", "`body` cannot be read: a key occurs twice in one object at line 15 column 17"),
    (
        "price_created__2020-08-27_included_credits",
        "price price_monthly of prod_shop as of 2026-09-21T14:13:20.000000Z, 500 eur, active, each 1 Month, grants 30 of the only unit",
    ),
    (
        "price_created__credits",
        "price price_shop_pack of prod_shop as of 2026-09-21T14:13:20.000000Z, pack of 100, 500 eur, active, once, grants 100 credits for 365 days",
    ),
    (
        "price_created__of_another_product",
        "price price_of_theirs of prod_theirs as of 2026-09-21T14:13:20.000000Z, 500 eur, active, each 1 Month",
    ),
    ("price_created__plan_with_a_name_of_its_own", "ignored: no_credits"),
    (
        "price_deleted",
        "price price_shop_pack of prod_shop as of 2026-09-21T14:13:20.999999Z, 500 eur, inactive, deleted, once, grants 100 of the only unit",
    ),
    (
        "price_updated__amount_for_ten",
        "price price_ten of prod_shop as of 2026-09-21T14:13:20.000001Z, no one amount, active, once, grants 100 of the only unit",
    ),
    ("price_updated__credits_in_words", "`data.object.metadata.credits` is not a whole number"),
    (
        "price_updated__expanded_deleted_product",
        "price price_shop_pack of prod_shop as of 2026-09-21T14:13:20.000001Z, 500 eur, inactive, once, grants 100 of the only unit, product as of 2026-09-21T14:13:20.000001Z, inactive, deleted",
    ),
    (
        "price_updated__expanded_product",
        "price price_shop_pack of prod_shop as of 2026-09-21T14:13:20.000001Z, 500 eur, active, once, grants 100 of the only unit, product as of 2026-09-21T14:13:20.000001Z, Shop credits, active",
    ),
    (
        "price_updated__grants_that_are_no_json",
        "`data.object.metadata.counterfoil_grants` cannot be read: trailing characters at line 1 column 5",
    ),
    (
        "price_updated__several_units",
        "price price_both of prod_shop as of 2026-09-21T14:13:20.000001Z, 500 eur, active, once, grants 500 credits, grants 1 licence_30d for 30 days",
    ),
    (
        "price_updated__tiered",
        "price price_tiers of prod_shop as of 2026-09-21T14:13:20.000001Z, no one amount, active, once, grants 100 of the only unit",
    ),
    ("price_updated__unknown_interval", "`data.object.recurring.interval` has an unknown value"),
    ("price_updated__without_product", "`data.object.product` is missing"),
    (
        "product_created__credits",
        "product prod_shop as of 2026-09-21T14:13:20.000000Z, Shop credits, active, grants 100 of the only unit",
    ),
    (
        "product_created__credits_of_no_known_price",
        "product prod_new as of 2026-09-21T14:13:20.000000Z, Shop credits, active, grants 100 of the only unit",
    ),
    (
        "product_deleted",
        "product prod_shop as of 2026-09-21T14:13:20.999999Z, Shop credits, inactive, deleted",
    ),
    (
        "product_updated",
        "product prod_shop as of 2026-09-21T14:13:20.000001Z, Shop credits, renamed, inactive",
    ),
    ("product_updated__negative_credits", "`data.object.metadata.credits` is out of range"),
    (
        "product_updated__of_another_product",
        "product prod_theirs as of 2026-09-21T14:13:20.000001Z, Theirs, active",
    ),
    ("radar_early_fraud_warning_created", "pi_disputed: issfr_1 warns"),
    ("radar_early_fraud_warning_created__direct_charge", "ignored: no_payment_intent"),
    (
        "radar_early_fraud_warning_created__without_payment_intent",
        "needs `payment_intent` of radar.early_fraud_warning issfr_3 from Stripe",
    ),
    ("refund_created__amount_zero", "`data.object.amount` is out of range"),
    ("refund_created__expanded_charge", "pi_yen: re_expanded succeeded 3300 jpy"),
    ("refund_created__payment_intent_in_charge", "pi_creditsInMetadata: re_in_charge succeeded 700 eur"),
    ("refund_created__pending", "pi_creditsInMetadata: re_half pending 1000 eur"),
    ("refund_created__requires_action", "pi_creditsInMetadata: re_called_off pending 1000 eur"),
    ("refund_created__without_payment_intent", "ignored: no_payment_intent"),
    ("refund_failed", "pi_creditsInMetadata: re_half failed 1000 eur"),
    ("refund_updated__canceled", "pi_creditsInMetadata: re_called_off cancelled 1000 eur"),
    ("refund_updated__no_money_moved", "pi_creditsInMetadata: re_half succeeded 1000 eur"),
    ("refund_updated__succeeded", "pi_creditsInMetadata: re_half succeeded 1000 eur"),
    ("refund_updated__unknown_status", "`data.object.status` has an unknown value"),
    ("refund_updated__without_status", "needs `status` of refund re_no_status from Stripe"),
    ("session_async_payment_failed", "ignored: closed_without_order"),
    (
        "session_async_payment_failed__order_of_ours",
        "closed cs_test_orderFailed: PaymentFailed, order ord_000000000000000c00a1b2c3d4e5f607",
    ),
    (
        "session_async_payment_succeeded",
        "paid cs_test_delayed, account customer-7, 1 x price_demo_pro, for 2000 eur (tax 0), pi_delayed",
    ),
    ("session_async_payment_succeeded__but_unpaid", "`data.object.payment_status` contradicts `type`"),
    (
        "session_completed__2020-03-02_before_payment_status",
        "needs `payment_status` of checkout.session cs_test_march2020 from Stripe",
    ),
    (
        "session_completed__2020-03-02_subscription_before_modes",
        "begun sub_2 by cs_test_oldSubscription, account customer-7",
    ),
    (
        "session_completed__2020-08-27",
        "paid cs_test_august2020, account customer-7, 500 credits, for 2000 eur (tax 0), pi_august2020",
    ),
    (
        "session_completed__account_alone",
        "needs `line_items` of checkout.session cs_test_accountAlone from Stripe",
    ),
    (
        "session_completed__account_in_reference",
        "paid cs_test_accountInReference, account customer-7, 500 credits, for 2000 eur (tax 0), pi_accountInReference",
    ),
    ("session_completed__another_kind_of_object", "`data.object.object` contradicts `type`"),
    (
        "session_completed__both_account_markers_agree",
        "paid cs_test_bothMarkers, account customer-7, 1 x price_demo_pro, for 2000 eur (tax 0), pi_bothMarkers",
    ),
    (
        "session_completed__converted_before_basil",
        "paid cs_test_converted, account customer-7, 1 x price_demo_pro, for 51800 czk (tax 0), pi_converted",
    ),
    (
        "session_completed__credits_in_metadata",
        "paid cs_test_creditsInMetadata, account customer-7, 500 credits, for 2000 eur (tax 0), pi_creditsInMetadata",
    ),
    ("session_completed__credits_without_account", "`data.object.metadata.account_id` is missing"),
    (
        "session_completed__free",
        "paid cs_test_free, account customer-7, 1 x price_demo_starter, for 0 eur (tax 0), no payment",
    ),
    (
        "session_completed__free_but_something_is_due",
        "`data.object.payment_status` contradicts `amount_total`",
    ),
    ("session_completed__half_a_credit", "`data.object.metadata.credits` is not a whole number"),
    (
        "session_completed__line_items_expanded",
        "paid cs_test_lineItems, account customer-7, 3 x price_demo_pro, for 6000 eur (tax 0), pi_lineItems",
    ),
    ("session_completed__metadata_null", "ignored: no_marker"),
    (
        "session_completed__more_line_items_at_stripe",
        "needs `line_items` of checkout.session cs_test_moreLineItems from Stripe",
    ),
    ("session_completed__negative_credits", "`data.object.metadata.credits` is out of range"),
    ("session_completed__no_marker", "ignored: no_marker"),
    (
        "session_completed__order_of_another_ledger",
        "paid cs_test_orderOfOtherLedger, account customer-7, order ord_000000000000000c00a1b2c3d4e5f607 of 2000, for 2000 eur (tax 0), pi_orderOfOtherLedger",
    ),
    (
        "session_completed__order_of_ours",
        "paid cs_test_order, account customer-7, order ord_000000000000000c00a1b2c3d4e5f607 of 2000, for 2000 eur (tax 0), pi_order",
    ),
    (
        "session_completed__order_without_subtotal",
        "needs `amount_subtotal` of checkout.session cs_test_orderNoSubtotal from Stripe",
    ),
    (
        "session_completed__paid_without_payment_intent",
        "needs `payment_intent` of checkout.session cs_test_noIntent from Stripe",
    ),
    (
        "session_completed__price_in_metadata",
        "paid cs_test_priceInMetadata, account customer-7, 2 x price_demo_pro, for 4000 eur (tax 0), pi_priceInMetadata",
    ),
    (
        "session_completed__price_without_account",
        "paid cs_test_priceOnly, 1 x price_demo_pro, for 2000 eur (tax 0), pi_priceOnly",
    ),
    (
        "session_completed__quantity_changed_by_buyer",
        "`data.object.metadata.quantity` contradicts `line_items`",
    ),
    (
        "session_completed__reference_alone",
        "needs `line_items` of checkout.session cs_test_referenceAlone from Stripe",
    ),
    ("session_completed__setup", "ignored: setup"),
    (
        "session_completed__shown_in_another_currency",
        "paid cs_test_presentment, account customer-7, 1 x price_demo_pro, for 2000 eur (tax 0), pi_presentment",
    ),
    ("session_completed__somebody_elses_order", "ignored: no_marker"),
    ("session_completed__subscription", "begun sub_1 by cs_test_subscription, account customer-7"),
    (
        "session_completed__tax_above_total",
        "`data.object.total_details.amount_tax` contradicts `amount_total`",
    ),
    (
        "session_completed__tax_and_discount",
        "paid cs_test_taxAndDiscount, account customer-7, 1 x price_demo_pro, for 2142 eur (tax 342), pi_taxAndDiscount",
    ),
    ("session_completed__too_many_credits", "`data.object.metadata.credits` is out of range"),
    (
        "session_completed__two_accounts",
        "`data.object.metadata.account_id` contradicts `client_reference_id`",
    ),
    ("session_completed__two_units", "`data.object.metadata.unit` contradicts `credit_unit`"),
    ("session_completed__unknown_mode", "`data.object.mode` has an unknown value"),
    ("session_completed__unknown_payment_status", "`data.object.payment_status` has an unknown value"),
    ("session_completed__unpaid", "ignored: not_paid_yet"),
    (
        "session_completed__yen_and_expanded_objects",
        "paid cs_test_yen, account customer-7, 500 credits, for 3300 jpy (tax 300), pi_yen",
    ),
    ("session_expired", "ignored: closed_without_order"),
    ("session_expired__but_paid", "`data.object.payment_status` contradicts `type`"),
    (
        "session_expired__order_of_ours",
        "closed cs_test_orderExpired: Expired, order ord_000000000000000c00a1b2c3d4e5f607",
    ),
    ("thin_charge_dispute_closed", "needs `object` of dispute du_thin from Stripe"),
    (
        "subscription_deleted__2020-08-27",
        "subscription sub_1 canceled, customer-7, 2 x price_demo_pro, until 2026-10-21T14:13:20.000000Z, paused, as of \
         2026-09-21T14:13:20.999999Z",
    ),
    (
        "subscription_updated",
        "subscription sub_1 active, customer-7, order ord_0000000000000019000f1e2d3c4b5a69, 2 x price_demo_pro, until \
         2026-10-21T14:13:20.000000Z, and no longer, as of 2026-09-21T14:13:20.000001Z",
    ),
    ("subscription_updated__unknown_status", "`data.object.status` has an unknown value"),
    ("thin_charge_refunded", "needs `object` of charge ch_creditsInMetadata from Stripe"),
    ("thin_credit_note_created", "needs `object` of credit_note cn_balance from Stripe"),
    ("thin_customer_created", "ignored: type_not_used"),
    ("thin_customer_deleted", "deleted cus_gone"),
    ("thin_price_updated", "needs `object` of price price_shop_pack from Stripe"),
    ("thin_session_completed", "needs `object` of checkout.session cs_test_thin from Stripe"),
];

#[test]
fn every_body_yields_what_the_table_says() {
    let wrong: Vec<String> = TABLE
        .iter()
        .map(|(name, expected)| (name, *expected, describe(&body(name))))
        .filter(|(_, expected, found)| expected != found)
        .map(|(name, expected, found)| format!("{name}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_body_has_its_line_in_the_table() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let lines: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, lines);
}

/// Values that a field may turn out to have in some version, or if somebody tampers with it.
fn oddities() -> Vec<Value> {
    let texts = ["", CANARY, "-1", "1e3", "\u{0}"];
    let numbers = [json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(1e300)];
    let others = [json!(null), json!(true), json!([]), json!([CANARY]), json!({}), json!({"id": CANARY})];
    texts.map(|text| json!(text)).into_iter().chain(numbers).chain(others).collect()
}

const CANARY: &str = "canary@example.com";

/// The JSON pointers of everything within `value`.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, child)| (name.clone(), child)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let pointer = format!("{here}/{}", name.replace('~', "~0").replace('/', "~1"));
        pointers(child, &pointer, found);
        found.push(pointer);
    }
}

/// One body of each shape.
const SHAPES: [&str; 12] = [
    "price_updated__expanded_product",
    "price_created__2020-08-27_included_credits",
    "product_created__credits",
    "session_completed__line_items_expanded",
    "session_completed__price_in_metadata",
    "session_completed__2020-08-27",
    "session_expired__order_of_ours",
    "refund_created__expanded_charge",
    "charge_refunded__2020-08-27_with_refunds",
    "thin_charge_refunded",
    "credit_note_created__two_refunds",
    "credit_note_created__2024-06-20_refund_and_out_of_band",
];

#[test]
fn an_odd_value_anywhere_neither_crashes_the_reader_nor_leaks_into_what_it_says() {
    for name in SHAPES {
        let original: Value = serde_json::from_slice(&body(name)).expect("JSON");
        let mut places = Vec::new();
        pointers(&original, "", &mut places);
        for (place, odd) in
            places.iter().flat_map(|place| oddities().into_iter().map(move |odd| (place, odd)))
        {
            let mut changed = original.clone();
            *changed.pointer_mut(place).expect("a place of it") = odd.clone();
            let bytes = serde_json::to_vec(&changed).expect("JSON");
            let extracted =
                Event::parse(&bytes).map_err(NoFact::from).and_then(|event| stripe::extract(&event));
            if let Err(reason) = extracted {
                assert!(!reason.to_string().contains(CANARY), "{name} {place} {odd}: {reason}");
            }
        }
    }
}
