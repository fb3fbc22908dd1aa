//! `/metrics` of the authority: what waits for somebody, and what waits too long.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tidegate_policy::authority::{Filter, Status};

use crate::control::authority::Handle;
use crate::control::now;

/// Counts questions by where they stand, at each scrape.
#[derive(Debug)]
pub(in crate::control) struct Gauges(pub Handle);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (state, now) = (self.0.read(), now());
        let help = "Questions to approvers that are remembered, by where they stand";
        let mut family = encoder.encode_descriptor("approvals", help, None, MetricType::Gauge)?;
        for status in Status::ALL {
            let filter = Filter { status: Some(status), ..Filter::default() };
            let count = state.list(&filter, None, usize::MAX, now).len();
            let labels = [("status", status.name())];
            let mut row = family.encode_family(&labels)?;
            row.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}
