//! The load of a cell, as tables show it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cell, Stop};

impl Cell {
    /// The load values that always have a column: `concurrency` or `arrivals`, `rate`, `max_tokens`, and
    /// `requests` or `duration`. Of a cell that only tries a start, 0 requests.
    pub fn load_values(&self) -> BTreeMap<String, Value> {
        if self.is_start_only() {
            return BTreeMap::from([("requests".to_owned(), 0.into())]);
        }
        let mut values = BTreeMap::from([("max_tokens".to_owned(), self.max_tokens.into())]);
        match self.spec.streams() {
            Some(streams) => values.insert("concurrency".to_owned(), streams.into()),
            None => values.insert("arrivals".to_owned(), self.spec.arrivals.to_string().into()),
        };
        if let Some(rate) = self.spec.rate {
            values.insert("rate".to_owned(), plain(rate));
        }
        match self.stop {
            Stop::Requests(requests) => values.insert("requests".to_owned(), requests.into()),
            Stop::Duration(span) => values.insert("duration".to_owned(), span.to_string().into()),
        };
        values
    }
}

/// Writes 8.0 as 8.
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 { (number as u64).into() } else { number.into() }
}
