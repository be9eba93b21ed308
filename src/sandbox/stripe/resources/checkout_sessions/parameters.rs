//! The parameters of checkout sessions.

use super::super::{
    super::parameters::{
        CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, address, boolean,
        choice, free, gone, integer, list, moment_or, object, short_text, text,
    },
    prices,
};

pub(super) const CREATE: &[Parameter] = &[
    object("adaptive_pricing", &[boolean("enabled")]),
    boolean("allow_promotion_codes"),
    list("allowed_payment_method_types", &Type::Text(50)),
    object("automatic_tax", &[boolean("enabled").required(), free("liability")]),
    choice("billing_address_collection", &["auto", "required"]),
    address("cancel_url"),
    short_text("client_reference_id", 200),
    object("consent_collection", CONSENT),
    short_text("currency", 3),
    object("custom_text", CUSTOM_TEXT),
    text("customer"),
    choice("customer_creation", &["always", "if_required"]),
    text("customer_email"),
    object("customer_update", CUSTOMER_UPDATE),
    list("discounts", &Type::Object(&[text("coupon"), text("promotion_code")])),
    list("excluded_payment_method_types", &Type::Text(50)),
    integer("expires_at"),
    object("invoice_creation", INVOICE_CREATION),
    list("line_items", &Type::Object(LINE_ITEM)),
    choice("locale", LOCALES),
    METADATA,
    choice("mode", &["payment", "subscription"]).required(),
    choice("origin_context", &["mobile_app", "web"]),
    object("payment_intent_data", PAYMENT_INTENT_DATA),
    choice("payment_method_collection", &["always", "if_required"]),
    free("payment_method_options"),
    gone("payment_method_types", "payment_method_types_no_longer_supported"),
    object("phone_number_collection", &[boolean("enabled").required()]),
    object("saved_payment_method_options", SAVED_METHODS),
    choice("submit_type", &["auto", "book", "donate", "pay", "subscribe"]),
    object("subscription_data", SUBSCRIPTION_DATA),
    address("success_url"),
    object(
        "tax_id_collection",
        &[boolean("enabled").required(), choice("required", &["if_supported", "never"])],
    ),
    choice("ui_mode", &["hosted_page"]),
];

pub(super) const UPDATE: &[Parameter] = &[METADATA];

pub(super) const LIST: &[Parameter] = &[
    CREATED,
    text("customer"),
    object("customer_details", &[text("email").required()]),
    ENDING_BEFORE,
    LIMIT,
    text("payment_intent"),
    STARTING_AFTER,
    choice("status", &["complete", "expired", "open"]),
    text("subscription"),
];

pub(super) const LIST_LINES: &[Parameter] = &[ENDING_BEFORE, LIMIT, STARTING_AFTER];

const LINE_ITEM: &[Parameter] = &[
    object("adjustable_quantity", &[boolean("enabled").required(), integer("maximum"), integer("minimum")]),
    text("price"),
    object("price_data", prices::DATA),
    integer("quantity"),
];

const CONSENT: &[Parameter] = &[
    choice("promotions", &["auto", "none"]),
    choice("terms_of_service", &["none", "required"]),
    free("payment_method_reuse_agreement"),
];

const CUSTOM_TEXT: &[Parameter] = &[
    object("after_submit", MESSAGE),
    object("shipping_address", MESSAGE),
    object("submit", MESSAGE),
    object("terms_of_service_acceptance", MESSAGE),
];

const MESSAGE: &[Parameter] = &[short_text("message", 1200).required()];

const CUSTOMER_UPDATE: &[Parameter] = &[
    choice("address", &["auto", "never"]),
    choice("name", &["auto", "never"]),
    choice("shipping", &["auto", "never"]),
];

const INVOICE_CREATION: &[Parameter] = &[
    boolean("enabled").required(),
    object(
        "invoice_data",
        &[
            free("account_tax_ids"),
            free("custom_fields"),
            short_text("description", 1500),
            text("footer"),
            free("issuer"),
            METADATA,
            free("rendering_options"),
        ],
    ),
];

const PAYMENT_INTENT_DATA: &[Parameter] = &[
    choice("capture_method", &["automatic", "automatic_async"]),
    short_text("description", 1000),
    METADATA,
    text("receipt_email"),
    choice("setup_future_usage", &["off_session", "on_session"]),
    short_text("statement_descriptor", 22),
    short_text("statement_descriptor_suffix", 22),
    text("transfer_group"),
];

const SAVED_METHODS: &[Parameter] = &[
    list("allow_redisplay_filters", &Type::Choice(&["always", "limited", "unspecified"])),
    choice("payment_method_remove", &["disabled", "enabled"]),
    choice("payment_method_save", &["disabled", "enabled"]),
];

const SUBSCRIPTION_DATA: &[Parameter] = &[
    integer("billing_cycle_anchor"),
    free("billing_mode"),
    short_text("description", 500),
    METADATA,
    choice("proration_behavior", &["create_prorations", "none"]),
    moment_or("trial_end", "now"),
    integer("trial_period_days"),
    free("trial_settings"),
];

const LOCALES: &[&str] = &[
    "auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt", "pt-BR", "ro", "ru",
    "sk", "sl", "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
];
