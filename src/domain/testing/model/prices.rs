//! Prices: everything that was ever said of each, from which what counts is derived whenever it is asked for.

use super::Model;
use crate::domain::{
    catalogue::{PriceGrant, PriceSettings},
    command::{Heard, SetPrice, SyncPrice, SyncProduct},
    ids::{PriceId, StripeId},
    listing::{Listing, ProductListing, Terms},
    rejection::Rejection,
    settings::Rollover,
};

/// What was said of one price.
#[derive(Clone)]
pub struct Price {
    pub price: PriceId,
    said: PriceSettings,
    /// By Stripe, without the product.
    told: Vec<Listing>,
    /// What it granted when something last said so.
    granted_last: Vec<PriceGrant>,
}

/// What counts of a price: name, order, whether it can be bought, money, what it grants, and what its periods take over.
pub type Shown = (PriceId, String, i32, bool, i64, Vec<PriceGrant>, Option<Rollover>);

type Broken = Vec<Rejection>;

impl Model {
    pub fn set_price(&mut self, command: &SetPrice) -> Result<(), Broken> {
        let mut price = self.known_or_new(&command.price);
        price.said = command.settings.clone();
        let mut broken = Vec::new();
        let mut refuse = |field| broken.push(Rejection::InvalidConfiguration { field, problem: "" });
        match price.told.iter().max() {
            None => {
                let said = &price.said;
                if *said == PriceSettings::default() {
                    refuse("price");
                }
                let missing = [
                    (said.display_name.is_none(), "display_name"),
                    (said.money.is_none(), "money"),
                    (said.grants.is_none(), "grants"),
                ];
                missing
                    .into_iter()
                    .filter(|(is_missing, _)| *is_missing)
                    .for_each(|(_, field)| refuse(field));
            }
            Some(newest) => {
                if price.said.money.is_some() && price.said.money != newest.money {
                    refuse("money");
                }
            }
        }
        self.keep(price, broken)
    }

    pub fn sync_price(&mut self, command: &SyncPrice) -> Result<(), Broken> {
        let mut price = self.known_or_new(&command.price);
        let is_same =
            |newest: &Listing| Listing { as_of: command.listing.as_of, ..newest.clone() } == command.listing;
        if command.heard != Heard::Told && price.told.iter().max().is_some_and(is_same) {
            return Ok(());
        }
        price.told.push(command.listing.clone());
        self.keep(price, Vec::new())
    }

    pub fn sync_product(&mut self, command: &SyncProduct) -> Result<(), Broken> {
        let is_of_it = |price: &&Price| price.told.iter().any(|listing| listing.product == command.product);
        let of_it: Vec<Price> = self.prices.iter().filter(is_of_it).cloned().collect();
        if of_it.is_empty() {
            return Ok(());
        }
        let before = self.clone();
        self.products.push((command.product.clone(), command.listing.clone()));
        for price in of_it {
            if let Err(broken) = self.keep(price, Vec::new()) {
                *self = before;
                return Err(broken);
            }
        }
        Ok(())
    }

    pub fn find_price(&self, id: &PriceId) -> Option<&Price> {
        self.prices.iter().find(|known| known.price == *id)
    }

    /// What buying one of a known price grants.
    pub fn granted_by(&self, price: &Price) -> Vec<PriceGrant> {
        let stated = price.said.grants.clone().or_else(|| self.stated(price).unwrap_or_default());
        stated.unwrap_or_else(|| price.granted_last.clone())
    }

    /// What periods of a known price take over, if anybody says so.
    pub fn rollover_of(&self, price: &Price) -> Option<Rollover> {
        let newest = price.told.iter().max();
        let product = newest.and_then(|listing| self.product(&listing.product));
        let of_product = product.and_then(|product| product.terms.rollover);
        price.said.rollover.or(newest.and_then(|listing| listing.terms.rollover)).or(of_product)
    }

    /// Every price as it counts, by id.
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown: Vec<Shown> = self.prices.iter().map(|price| self.show(price)).collect();
        shown.sort();
        shown
    }

    fn show(&self, price: &Price) -> Shown {
        let newest = price.told.iter().max();
        let product = newest.and_then(|listing| self.product(&listing.product));
        let product_name = product.as_ref().and_then(|product| product.name.clone());
        let nickname = newest.and_then(|listing| listing.nickname.clone());
        let name = price.said.display_name.clone().or(product_name).or(nickname);
        let is_sold = newest.is_none_or(|listing| listing.active)
            && product.as_ref().is_none_or(|product| product.active);
        let is_gone = newest.is_some_and(|listing| listing.deleted)
            || product.as_ref().is_some_and(|product| product.deleted);
        let is_stated = price.said.grants.is_some() || self.stated(price) != Ok(None);
        let money = newest.and_then(|listing| listing.money).or(price.said.money).expect("some money");
        (
            price.price.clone(),
            name.unwrap_or_else(|| price.price.to_string()),
            price.said.display_order.unwrap_or(0),
            price.said.active.unwrap_or(is_sold) && !is_gone && is_stated,
            money.amount,
            self.granted_by(price),
            self.rollover_of(price),
        )
    }

    /// What Stripe's newest word on it grants.
    fn stated(&self, price: &Price) -> Result<Option<Vec<PriceGrant>>, Rejection> {
        let Some(newest) = price.told.iter().max() else { return Ok(None) };
        let own = newest.terms.clone();
        let other = self.product(&newest.product).map(|product| product.terms).unwrap_or_default();
        let says = |terms: &Terms| terms.credits.is_some() || terms.grants.is_some();
        let speaker = if says(&own) { own.clone() } else { other.clone() };
        if speaker.grants.is_some() {
            return Ok(speaker.grants);
        }
        let Some(amount) = speaker.credits else { return Ok(None) };
        let units: Vec<_> = self.settings.units.keys().cloned().collect();
        let only = if units.len() == 1 { units.first().cloned() } else { None };
        let Some(unit) = own.unit.or(other.unit).or(only) else {
            return Err(Rejection::PriceWithoutUnit { price: price.price.clone() });
        };
        Ok(Some(vec![PriceGrant {
            unit,
            amount,
            expires_days: own.expires_days.or(other.expires_days),
            priority: own.priority.or(other.priority).unwrap_or(50),
            share: 1,
        }]))
    }

    fn product(&self, product: &StripeId) -> Option<ProductListing> {
        self.products.iter().filter(|(id, _)| id == product).map(|(_, listing)| listing.clone()).max()
    }

    fn known_or_new(&self, id: &PriceId) -> Price {
        let new = || Price {
            price: id.clone(),
            said: PriceSettings::default(),
            told: Vec::new(),
            granted_last: Vec::new(),
        };
        self.find_price(id).cloned().unwrap_or_else(new)
    }

    /// Keeps the price, unless a rule is broken.
    fn keep(&mut self, mut price: Price, mut broken: Broken) -> Result<(), Broken> {
        match self.stated(&price) {
            _ if price.said.grants.is_some() => {}
            Err(rejection) => broken.push(rejection),
            Ok(None) if price.granted_last.is_empty() => {
                broken.push(Rejection::PriceGrantsNothing { price: price.price.clone() });
            }
            Ok(_) => {}
        }
        if !broken.is_empty() {
            return Err(broken);
        }
        price.granted_last = self.granted_by(&price);
        self.prices.retain(|known| known.price != price.price);
        self.prices.push(price);
        Ok(())
    }
}
