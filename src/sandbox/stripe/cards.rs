//! Test cards, and what the bank says to each: the numbers are those of Stripe's documentation.

/// A way to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Card(&'static Card),
    /// Succeeds or fails days later.
    SepaDebit,
}

impl Method {
    /// Stripe's name for the type.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Card(_) => "card",
            Self::SepaDebit => "sepa_debit",
        }
    }

    /// What identifies it for later, when a payment method is charged again.
    pub(super) const fn number(self) -> &'static str {
        match self {
            Self::Card(card) => card.number,
            Self::SepaDebit => "sepa_debit",
        }
    }

    /// The method that [`number`](Self::number) names.
    pub(super) fn numbered(number: &str) -> Option<Self> {
        if number == "sepa_debit" {
            return Some(Self::SepaDebit);
        }
        Card::find(number).map(Self::Card)
    }
}

/// One test card.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub number: &'static str,
    /// Names that Stripe's documentation has for payment methods with this card.
    pub payment_method: &'static str,
    pub brand: &'static str,
    pub country: &'static str,
    pub bank: Bank,
    pub refunds: Refunds,
}

/// What the bank says to a payment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bank {
    Pays,
    Declines(&'static Decline),
    /// Asks the buyer first, when the buyer is there; refuses otherwise.
    Asks,
    /// Pays, and disputes it at once.
    Disputes {
        is_inquiry: bool,
    },
}

/// How refunds to a card go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refunds {
    Succeed,
    /// Pending until the control API says more.
    Wait,
}

/// Why a bank declines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decline {
    pub code: &'static str,
    pub decline_code: Option<&'static str>,
    pub message: &'static str,
}

pub(super) const GENERIC: Decline = Decline {
    code: "card_declined",
    decline_code: Some("generic_decline"),
    message: "Your card was declined.",
};
const INSUFFICIENT: Decline = Decline {
    code: "card_declined",
    decline_code: Some("insufficient_funds"),
    message: "Your card has insufficient funds.",
};
const EXPIRED: Decline =
    Decline { code: "expired_card", decline_code: None, message: "Your card has expired." };
const WRONG_CODE: Decline =
    Decline { code: "incorrect_cvc", decline_code: None, message: "Your card's security code is incorrect." };
pub(super) const NOT_AUTHENTICATED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: None,
    message: "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
};
pub(super) const ASKS_FOR_THE_BUYER: Decline = Decline {
    code: "authentication_required",
    decline_code: Some("authentication_required"),
    message: "Your card was declined. This transaction requires authentication.",
};

const CARDS: &[Card] = &[
    card("4242424242424242", "pm_card_visa", "visa", Bank::Pays),
    card("5555555555554444", "pm_card_mastercard", "mastercard", Bank::Pays),
    card("4000000000000002", "pm_card_visa_chargeDeclined", "visa", Bank::Declines(&GENERIC)),
    card(
        "4000000000009995",
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "visa",
        Bank::Declines(&INSUFFICIENT),
    ),
    card("4000000000000069", "pm_card_chargeDeclinedExpiredCard", "visa", Bank::Declines(&EXPIRED)),
    card("4000000000000127", "pm_card_chargeDeclinedIncorrectCvc", "visa", Bank::Declines(&WRONG_CODE)),
    card("4000002500003155", "pm_card_authenticationRequiredOnSetup", "visa", Bank::Asks),
    card("4000000000003220", "pm_card_threeDSecure2Required", "visa", Bank::Asks),
    card("4000000000000259", "pm_card_createDispute", "visa", Bank::Disputes { is_inquiry: false }),
    card("4000000000001976", "pm_card_createDisputeInquiry", "visa", Bank::Disputes { is_inquiry: true }),
    Card { refunds: Refunds::Wait, ..card("4000000000007726", "pm_card_pendingRefund", "visa", Bank::Pays) },
    card("4000000000000341", "pm_card_chargeCustomerFail", "visa", Bank::Declines(&GENERIC)),
];

const fn card(number: &'static str, payment_method: &'static str, brand: &'static str, bank: Bank) -> Card {
    Card { number, payment_method, brand, country: "US", bank, refunds: Refunds::Succeed }
}

impl Card {
    /// The card with this number, spaces aside, or with this name of a payment method.
    pub(super) fn find(number: &str) -> Option<&'static Self> {
        let digits: String = number.chars().filter(|letter| !matches!(letter, ' ' | '-')).collect();
        CARDS.iter().find(|card| card.number == digits || card.payment_method == digits)
    }

    pub(super) fn last4(&self) -> &'static str {
        &self.number[self.number.len() - 4..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_as_people_type_them() {
        assert_eq!(
            Card::find("4000 0000 0000 9995").map(|card| &card.bank),
            Some(&Bank::Declines(&INSUFFICIENT))
        );
        assert_eq!(Card::find("pm_card_visa").map(Card::last4), Some("4242"));
        assert_eq!(Card::find("1234"), None);
        for card in CARDS {
            assert_eq!(Method::numbered(Method::Card(card).number()), Some(Method::Card(card)));
        }
    }
}
