//! Moving averages of rates, in events per minute, as Mosquitto has them below `load/`.

use super::snapshot::Snapshot;
use std::time::Duration;

/// The spans of time that rates are averaged over, in minutes.
const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

const NAMES: [&str; 9] = [
    "bytes/received",
    "bytes/sent",
    "connections",
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "sockets",
];

#[derive(Default)]
pub(super) struct Load {
    /// The uptime and the counts of the last update.
    before: Option<(Duration, [u64; NAMES.len()])>,
    averages: [[f64; SPANS.len()]; NAMES.len()],
}

impl Load {
    /// Updates the averages with the counts since the last update.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        let (now, counts) = (snapshot.uptime, counts(snapshot));
        let Some((then, before)) = self.before else {
            self.before = Some((now, counts));
            return;
        };
        let minutes = now.saturating_sub(then).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        for ((averages, count), before) in self.averages.iter_mut().zip(counts).zip(before) {
            let rate = count.saturating_sub(before) as f64 / minutes;
            for (average, (_, span)) in averages.iter_mut().zip(SPANS) {
                // The weight of the past falls exponentially: after one span it is 1/e, a little more than a third.
                *average = rate + (-minutes / span).exp() * (*average - rate);
            }
        }
        self.before = Some((now, counts));
    }

    /// Topics below `load/` with their averages.
    pub(super) fn topics(&self) -> impl Iterator<Item = (String, f64)> {
        NAMES.iter().zip(&self.averages).flat_map(|(name, averages)| {
            SPANS.iter().zip(averages).map(move |((span, _), average)| (format!("{name}/{span}"), *average))
        })
    }
}

/// The counts, in the order of [`NAMES`].
fn counts(snapshot: &Snapshot) -> [u64; NAMES.len()] {
    let counters = &snapshot.counters;
    [
        counters.bytes_received,
        counters.bytes_sent,
        counters.connections_opened,
        counters.packets_received,
        counters.packets_sent,
        snapshot.dropped_in_all(),
        counters.publish_received.iter().sum(),
        counters.publish_sent.iter().sum(),
        snapshot.accepted,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn snapshot(seconds: u64, received: u64) -> Snapshot {
        let mut snapshot = Snapshot { uptime: Duration::from_secs(seconds), ..Snapshot::default() };
        snapshot.counters.publish_received = [received, 0, 0];
        snapshot
    }

    fn averages(load: &Load) -> [f64; 3] {
        let topics: HashMap<String, f64> = load.topics().collect();
        SPANS.map(|(span, _)| topics[&format!("publish/received/{span}")])
    }

    fn assert_near(averages: [f64; 3], wanted: [f64; 3]) {
        let is_near = averages.iter().zip(wanted).all(|(average, wanted)| (average - wanted).abs() < 0.005);
        assert!(is_near, "{averages:?}, and not {wanted:?}");
    }

    #[test]
    fn load_averages_approach_a_steady_rate_and_fall_after_it_ends() {
        let mut load = Load::default();
        load.update(&snapshot(0, 0));
        assert_near(averages(&load), [0.0; 3]);
        // 5 events each second are 300 a minute.
        (1..=6).for_each(|n| load.update(&snapshot(10 * n, 50 * n)));
        let after = |minutes: f64| SPANS.map(|(_, span)| 300.0 * (1.0 - (-minutes / span).exp()));
        assert_near(averages(&load), after(1.0));
        (7..=600).for_each(|n| load.update(&snapshot(10 * n, 50 * n)));
        assert_near(averages(&load), after(100.0));
        load.update(&snapshot(6_060, 30_000));
        let forgotten = |span: f64| 300.0 * (1.0 - (-100.0 / span).exp()) * (-1.0 / span).exp();
        assert_near(averages(&load), SPANS.map(|(_, span)| forgotten(span)));
    }

    /// The averages are also updated when the store becomes full, at any time.
    #[test]
    fn load_averages_do_not_depend_on_how_often_they_are_updated() {
        let (mut often, mut seldom) = (Load::default(), Load::default());
        for load in [&mut often, &mut seldom] {
            load.update(&snapshot(0, 7_000));
        }
        (1..=300).for_each(|n| often.update(&snapshot(n, 7_000 + 2 * n)));
        often.update(&snapshot(300, 7_600));
        seldom.update(&snapshot(300, 7_600));
        assert_near(averages(&often), averages(&seldom));
        assert_near(averages(&often), SPANS.map(|(_, span)| 120.0 * (1.0 - (-5.0 / span).exp())));
    }
}
