//! Turns an order's total into euros and adds it to the tally.
//!
//! Shows several inputs, several outputs, and a store: the tally changes in the very commit that completes the node, once
//! for every order, whatever crashes meanwhile.

use trellis_sdk::*;

/// The store, as granted in `trellis.toml`.
const STORE: &str = "tally";

#[data]
pub struct Config {
    /// Orders worth this many euros or more are large.
    pub large_from_euros: f64,
}

/// What the nodes before have found out.
#[inputs]
pub struct Purchase {
    pub order: Order,
    /// The rate of the order's currency.
    pub rate: Rate,
}

#[data]
pub struct Order {
    pub id: String,
    pub currency: String,
    /// In the order's currency.
    pub total: f64,
}

#[data]
pub struct Rate {
    pub euros: f64,
}

/// An order in euros.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    pub id: String,
    pub euros: f64,
}

#[derive(Ports)]
pub enum Tally {
    /// Every order.
    Order(Converted),
    /// Large orders alone.
    Large(Converted),
}

/// Turns an order's total into euros and adds it to the tally.
#[transformer]
pub fn tally(input: Purchase, config: Config) -> Result<Vec<Tally>> {
    let cents = input.order.total * input.rate.euros * 100.0;
    if !cents.is_finite() || cents < 0.0 {
        return Err(Error::invalid_input(format_args!(
            "order {}: {} {} is no total",
            input.order.id, input.order.total, input.order.currency
        )));
    }
    let store = storage::store(STORE);
    // Additions commute: orders that come in at the same time never get into each other's way.
    store.add("orders", 1)?;
    store.add("cents", cents.round() as i64)?;
    let converted = Converted { id: input.order.id, euros: cents.round() / 100.0 };
    log::info!("order {} is worth {} euros", converted.id, converted.euros);
    let mut outputs = vec![Tally::Order(converted.clone())];
    if converted.euros >= config.large_from_euros {
        outputs.push(Tally::Large(converted));
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(total: f64) -> Result<std::collections::BTreeMap<String, Value>> {
        let inputs = json!({ "order": { "id": "7", "currency": "usd", "total": total }, "rate": { "euros": 0.5 } });
        fake::call(tally, inputs, json!({ "large_from_euros": 100.0 }))
    }

    #[test]
    fn a_small_order_is_tallied_and_no_large_one() {
        let outputs = outputs(120.0).expect("a fine order");
        assert_eq!(outputs["order"], json!({ "id": "7", "euros": 60.0 }));
        assert!(!outputs.contains_key("large"));
    }

    #[test]
    fn a_large_order_serves_both_ports() {
        assert_eq!(outputs(200.0).expect("a fine order").keys().collect::<Vec<_>>(), ["large", "order"]);
    }

    #[test]
    fn an_order_below_zero_is_refused() {
        assert_eq!(outputs(-1.0).expect_err("below zero").kind(), ErrorKind::InvalidInput);
    }
}
