//! Texts that only the interface knows: what people and clients write beside things.

use std::{borrow::Cow, collections::BTreeMap};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::text;
use crate::{
    api::params::Parameter,
    domain::{command::Note, ids::InvalidName},
};

/// Makes a kind of text that only the interface knows.
macro_rules! free_text {
    ($(#[doc = $doc:literal])* $name:ident, $valid:expr, $expected:literal, $schema:expr) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let is_valid: fn(&str) -> bool = $valid;
                if is_valid(&text) { Ok(Self(text)) } else { Err(D::Error::custom($expected)) }
            }
        }

        scalar!($name, $schema);
    };
}

/// Whether the text has 1 to `longest` characters, none of them a control character; `lines` allows line breaks.
fn is_printable(text: &str, longest: usize, lines: bool) -> bool {
    let is_fine = |character: char| !character.is_control() || (lines && matches!(character, '\n' | '\t'));
    (1..=longest).contains(&text.chars().count()) && text.chars().all(is_fine)
}

fn short_text(longest: usize, example: &str) -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(longest),
        example: Some(example.into()),
        ..MetaSchema::new("string")
    }
}

free_text!(
    /// Why something is done, for people.
    Reason,
    |text| is_printable(text, 500, true),
    "must be 1 to 500 characters without control characters",
    short_text(500, "goodwill after an outage")
);
free_text!(
    /// What an effect failed at, by its code.
    CauseCode,
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')),
    "must be 1 to 64 lower-case letters, digits and _",
    text("^[a-z0-9_]+$", 64, "resource_missing")
);
free_text!(
    /// What a payment is called elsewhere: an invoice number, a transfer's reference.
    Reference,
    |text| is_printable(text, 200, false),
    "must be 1 to 200 characters without control characters",
    short_text(200, "invoice 2031-17")
);
free_text!(
    /// A name for people.
    DisplayName,
    |text| is_printable(text, 200, false),
    "must be 1 to 200 characters without control characters",
    short_text(200, "Ada Lovelace")
);
free_text!(
    /// An e-mail address: one `@` with something before and after it. Whether it works is not looked at.
    Email,
    |text| {
        let halves = text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
        is_printable(text, 254, false) && halves && !text.contains(char::is_whitespace)
    },
    "must be an e-mail address of at most 254 characters",
    MetaSchema { format: Some("email"), ..short_text(254, "ada@example.com") }
);
free_text!(
    /// A language, as BCP 47 writes it.
    Locale,
    |text| {
        let is_tag = |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
        text.len() <= 35 && text.split('-').all(is_tag) && text.as_bytes()[0].is_ascii_alphabetic()
    },
    "must be a language such as `en` or `de-AT`",
    text("^[A-Za-z][A-Za-z0-9]{0,7}(-[A-Za-z0-9]{1,8})*$", 35, "de")
);
free_text!(
    /// Where a buyer is led: `https://` and a host that the ledger allows.
    Address,
    |text| (1..=5_000).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
    "must be an address of 1 to 5000 printable ASCII characters",
    short_text(5_000, "https://shop.example/thanks?order={ORDER_ID}")
);

/// The client's own keys and values, kept beside what they belong to and never looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    const MOST_KEYS: usize = 50;
    const LONGEST_KEY: usize = 40;
    const LONGEST_VALUE: usize = 500;

    /// The metadata that is stored as `note`; what is no text is left out.
    pub fn of(note: Note) -> Self {
        let texts = note.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        Self(texts.collect())
    }

    /// As it is stored.
    pub fn into_note(self) -> Note {
        self.0.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        if pairs.len() > Self::MOST_KEYS {
            return Err(D::Error::custom("must have at most 50 keys"));
        }
        if !pairs.keys().all(|key| is_printable(key, Self::LONGEST_KEY, false)) {
            return Err(D::Error::custom("a key must have 1 to 40 characters without control characters"));
        }
        if !pairs.values().all(|value| value.is_empty() || is_printable(value, Self::LONGEST_VALUE, true)) {
            return Err(D::Error::custom(
                "a value must have at most 500 characters without control characters",
            ));
        }
        Ok(Self(pairs))
    }
}

scalar!(
    Metadata,
    MetaSchema {
        max_properties: Some(Self::MOST_KEYS),
        additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema {
            max_length: Some(Self::LONGEST_VALUE),
            ..MetaSchema::new("string")
        })))),
        example: Some(serde_json::json!({"job": "4711"})),
        ..MetaSchema::new("object")
    }
);

impl Parameter for CauseCode {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be 1 to 64 lower-case letters, digits and _";
        serde_json::from_value(text.into()).map_err(|_| InvalidName { expected })
    }
}

impl Parameter for Locale {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be a language such as `en` or `de-AT`";
        serde_json::from_value(text.into()).map_err(|_| InvalidName { expected })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts<T: serde::de::DeserializeOwned>(value: Value) -> bool {
        serde_json::from_value::<T>(value).is_ok()
    }

    #[test]
    fn texts_keep_to_their_alphabets() {
        for (valid, text) in [
            (true, "ada@example.com"),
            (false, "ada"),
            (false, "@example.com"),
            (false, "ada@"),
            (false, "a@b@c"),
            (false, "a da@example.com"),
            (false, "ada@example.com\n"),
        ] {
            assert_eq!(accepts::<Email>(json!(text)), valid, "{text:?}");
        }
        for (valid, text) in
            [(true, "de"), (true, "de-AT"), (false, ""), (false, "de-"), (false, "1"), (false, "de_AT")]
        {
            assert_eq!(accepts::<Locale>(json!(text)), valid, "{text:?}");
        }
        assert!(accepts::<Reason>(json!("two\nlines")));
        assert!(!accepts::<Reason>(json!("")));
        assert!(!accepts::<Reason>(json!("bell\u{7}")));
        assert!(accepts::<Reason>(json!("é".repeat(500))));
        assert!(!accepts::<Reason>(json!("é".repeat(501))));
        assert!(!accepts::<Reference>(json!("two\nlines")));
        assert!(accepts::<DisplayName>(json!("Ada")));
    }

    #[test]
    fn metadata_is_bounded() {
        let with_keys = |count: usize| -> Value {
            (0..count)
                .map(|index| (index.to_string(), json!("value")))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert!(accepts::<Metadata>(with_keys(50)));
        assert!(!accepts::<Metadata>(with_keys(51)));
        assert!(accepts::<Metadata>(json!({"k".repeat(40): ""})));
        assert!(!accepts::<Metadata>(json!({"k".repeat(41): ""})));
        assert!(!accepts::<Metadata>(json!({"": "x"})));
        assert!(!accepts::<Metadata>(json!({"key": "v".repeat(501)})));
        assert!(!accepts::<Metadata>(json!({"key": 5})));
        let stored =
            serde_json::from_value::<Metadata>(json!({"b": "2", "a": "1"})).expect("valid").into_note();
        assert_eq!(Metadata::of(stored), serde_json::from_value(json!({"a": "1", "b": "2"})).expect("valid"));
    }
}
