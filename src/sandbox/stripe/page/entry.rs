//! What a buyer typed into the form, and whether one can pay with it.

use serde_json::Value;

use super::{
    super::{
        cards::{Card, Method},
        checkout::Entered,
        form::Tree,
    },
    texts::Texts,
};

/// The fields of the form.
#[derive(Default)]
pub(super) struct Entry {
    pub email: Option<String>,
    pub name: Option<String>,
    pub country: Option<String>,
    pub tax_id: Option<String>,
    pub promotion_code: String,
    /// The button beside the promotion code was pressed.
    pub applies_code: bool,
    pub is_debit: bool,
    pub card: String,
    pub expiry: String,
    pub security_code: String,
    pub iban: String,
}

impl Entry {
    pub(super) fn read(form: &Tree) -> Self {
        let given = |name: &str| Some(form.value(name).trim().to_owned()).filter(|text| !text.is_empty());
        Self {
            email: given("email"),
            name: given("name"),
            country: given("country"),
            tax_id: given("tax_id"),
            promotion_code: form.value("promotion_code").trim().to_owned(),
            applies_code: form.value("action") == "apply",
            is_debit: form.value("method") == "sepa_debit",
            card: form.value("card").trim().to_owned(),
            expiry: form.value("expiry").trim().to_owned(),
            security_code: form.value("security_code").trim().to_owned(),
            iban: form.value("iban").trim().to_owned(),
        }
    }

    /// Who the buyer is. The e-mail address of a known customer stays as it is.
    pub(super) fn entered(&self, session: &Value) -> Entered {
        let is_fixed = session["customer"].is_string() && session["customer_details"]["email"].is_string();
        Entered {
            email: self.email.clone().filter(|_| !is_fixed),
            name: self.name.clone(),
            country: self.country.clone(),
            tax_id: self.tax_id.clone(),
        }
    }

    /// How the buyer wants to pay.
    ///
    /// # Errors
    /// What is missing or wrong, for the buyer to read.
    pub(super) fn method(
        &self,
        session: &Value,
        texts: &'static Texts,
        now: i64,
    ) -> Result<Method, &'static str> {
        let details = &session["customer_details"];
        if !details["email"].as_str().is_some_and(|email| email.contains('@')) {
            return Err(texts.email_missing);
        }
        let needs_country = session["automatic_tax"]["enabled"] == true
            || session["billing_address_collection"] == "required";
        if needs_country && details["address"]["country"].is_null() {
            return Err(texts.country_missing);
        }
        if session["amount_total"] == 0 && session["mode"] == "payment" {
            return Ok(Method::SepaDebit);
        }
        if self.is_debit {
            return if self.iban.is_empty() { Err(texts.iban_missing) } else { Ok(Method::SepaDebit) };
        }
        let card = Card::find(&self.card).ok_or(texts.card_unknown)?;
        if !self.is_valid_at(now) {
            return Err(texts.expiry_wrong);
        }
        let is_code = (3..=4).contains(&self.security_code.len())
            && self.security_code.bytes().all(|byte| byte.is_ascii_digit());
        if is_code { Ok(Method::Card(card)) } else { Err(texts.security_code_wrong) }
    }

    /// Whether the card has not expired.
    fn is_valid_at(&self, now: i64) -> bool {
        let Some((month, year)) = self.expiry.split_once('/') else { return false };
        let (Ok(month), Ok(year)) = (month.trim().parse::<u8>(), year.trim().parse::<i32>()) else {
            return false;
        };
        let year = if year < 100 { year + 2000 } else { year };
        let Ok(now) = time::OffsetDateTime::from_unix_timestamp(now) else { return false };
        (1..=12).contains(&month) && (year, month) >= (now.year(), u8::from(now.month()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_valid_until_the_end_of_its_month() {
        let valid = |expiry: &str| {
            let entry = Entry { expiry: expiry.to_owned(), ..Entry::default() };
            // 15 November 2026
            entry.is_valid_at(1_794_700_800)
        };
        assert!(valid("11/26") && valid("12 / 34") && valid("01/2027"));
        assert!(!valid("10/26") && !valid("13/30") && !valid("") && !valid("1226"));
    }
}
