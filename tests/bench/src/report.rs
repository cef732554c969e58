//! Prints the results as tables and as JSON.

use crate::broker::{Broker, Kind};
use crate::process::load_average;
use crate::scenario::{Goal, Scenario, Work, thousands};
use crate::traffic::{Faults, Outcome};
use std::fmt::Write;
use std::time::SystemTime;

/// Medians of all rounds, and the faults of all rounds together.
#[derive(Clone, Debug)]
pub struct Figures {
    pub cpu: f64,
    pub generator_cpu: f64,
    pub rate: f64,
    /// The time in microseconds after which 50, 99 and 99.9 percent of the messages had arrived.
    pub latency: Option<[f64; 3]>,
    pub resident: f64,
    pub table: f64,
    pub faults: Faults,
}

pub struct Row {
    pub broker: String,
    pub kind: Kind,
    /// The figures, or an error and whether it was known before the run.
    pub figures: Result<Figures, (String, bool)>,
}

pub struct Report {
    brokers: Vec<Broker>,
    rounds: usize,
    loads: Vec<String>,
    results: Vec<ScenarioResult>,
}

struct ScenarioResult {
    name: String,
    goal: Option<Goal>,
    /// How many things the memory in `table` is divided by, and the name of one of them.
    of: Option<(usize, &'static str)>,
    is_acknowledged: bool,
    rows: Vec<Row>,
}

impl Figures {
    pub fn medians(outcomes: &[Outcome]) -> Self {
        let of = |figure: &dyn Fn(&Outcome) -> f64| median(outcomes.iter().map(figure).collect());
        let has_latency = outcomes.iter().any(|outcome| !outcome.latencies.is_empty());
        let latency = |part: f64| {
            of(&|outcome| {
                let index = (outcome.latencies.len() as f64 * part) as usize;
                outcome.latencies.get(index).map_or(f64::NAN, |&nanoseconds| nanoseconds as f64 / 1e3)
            })
        };
        let mut faults = Faults::default();
        for outcome in outcomes {
            faults.lost += outcome.faults.lost;
            faults.duplicated += outcome.faults.duplicated;
            faults.reordered += outcome.faults.reordered;
        }
        Self {
            cpu: of(&|outcome| outcome.cpu),
            generator_cpu: of(&|outcome| outcome.generator_cpu),
            rate: of(&|outcome| outcome.rate),
            latency: has_latency.then(|| [latency(0.5), latency(0.99), latency(0.999)]),
            resident: of(&|outcome| outcome.resident as f64),
            table: of(&|outcome| outcome.table as f64),
            faults,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    pub fn new(brokers: &[Broker], rounds: usize) -> Self {
        Self { brokers: brokers.to_vec(), rounds, loads: vec![load_average()], results: Vec::new() }
    }

    pub fn add(&mut self, scenario: &Scenario, rows: Vec<Row>) {
        let of = match scenario.work {
            Work::Traffic(_) => None,
            Work::Table { subscriptions, .. } => Some((subscriptions, "subscription")),
            Work::Idle(count) => Some((count, "connection")),
            Work::Retained(count) => Some((count, "retained message")),
        };
        let is_acknowledged = scenario.qos > 0;
        self.results.push(ScenarioResult {
            name: scenario.name.clone(),
            goal: scenario.goal,
            of,
            is_acknowledged,
            rows,
        });
        self.loads.push(load_average());
    }

    /// Whether Goldcrest completed every scenario, without a fault with QoS 1 and 2.
    pub fn is_goldcrest_sound(&self) -> bool {
        self.results.iter().all(|result| {
            result.rows.iter().filter(|row| row.kind.is_goldcrest()).all(|row| match &row.figures {
                Ok(figures) => !result.is_acknowledged || figures.faults == Faults::default(),
                Err((_, known)) => *known,
            })
        })
    }

    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
        let _ = writeln!(
            out,
            "{}; {} rounds, medians; load average {}.\n",
            [date(day), machine()].join(", "),
            self.rounds,
            self.loads.join(" ")
        );
        out += "Broker's CPU time for each delivered message (connection, fetched message), in microseconds; in brackets as a \
                multiple of the relay's. Goals hold for another machine: the relay's time there stands with them.\n\n";
        self.table(&mut out, "goal for Goldcrest", |_| true, cpu_cell, goal_cell);
        out += "\nDelivered messages (connections) a second.\n\n";
        self.table(&mut out, "Goldcrest to the best other", |_| true, rate_cell, lead_cell);
        let has_latency =
            |result: &ScenarioResult| result.rows.iter().any(|row| figures(row).is_some_and(|f| f.latency.is_some()));
        if self.results.iter().any(has_latency) {
            out += "\nLatency of 50 %, 99 % and 99.9 % of all messages, in microseconds from when they were due.\n\n";
            self.table(&mut out, "", has_latency, latency_cell, |_| String::new());
        }
        if self.results.iter().any(|result| result.of.is_some()) {
            out += "\nResident memory: bytes for each, and of the whole process.\n\n";
            self.table(&mut out, "", |result| result.of.is_some(), memory_cell, |_| String::new());
        }
        let mut notes = Vec::new();
        for result in &self.results {
            for row in &result.rows {
                match &row.figures {
                    Ok(figures) if figures.faults == Faults::default() => {}
                    Ok(Figures { faults, .. }) => notes.push(format!(
                        "{}, {}: {} lost, {} duplicated, {} reordered",
                        result.name, row.broker, faults.lost, faults.duplicated, faults.reordered
                    )),
                    Err((_, true)) => {}
                    Err((why, false)) => notes.push(format!("{}, {}: {why}", result.name, row.broker)),
                }
            }
        }
        let mut skipped: Vec<String> = Vec::new();
        for row in self.results.iter().flat_map(|result| &result.rows) {
            if let Err((why, true)) = &row.figures {
                let note = format!("{}: {why}", row.broker);
                if row.kind != Kind::Relay && !skipped.contains(&note) {
                    skipped.push(note);
                }
            }
        }
        notes.extend(skipped);
        if !notes.is_empty() {
            out += "\n";
            notes.iter().for_each(|note| out += &format!("- {note}\n"));
        }
        out
    }

    fn table(
        &self,
        out: &mut String,
        last: &str,
        has_place: impl Fn(&ScenarioResult) -> bool,
        cell: impl Fn(&ScenarioResult, &Figures) -> String,
        last_cell: impl Fn(&ScenarioResult) -> String,
    ) {
        let names: Vec<_> = self.brokers.iter().map(|broker| broker.name.as_str()).collect();
        let _ = writeln!(out, "| scenario | {} | {last} |", names.join(" | "));
        let _ = writeln!(out, "|---|{}---|", "---:|".repeat(names.len()));
        for result in self.results.iter().filter(|result| has_place(result)) {
            let cells = result.rows.iter().map(|row| match &row.figures {
                Ok(figures) if figures.faults == Faults::default() => cell(result, figures),
                Ok(figures) => format!("{} (faults)", cell(result, figures)),
                Err((_, true)) => "–".into(),
                Err((_, false)) => "failed".into(),
            });
            let cells: Vec<_> = cells.collect();
            let _ = writeln!(out, "| {} | {} | {} |", result.name, cells.join(" | "), last_cell(result));
        }
    }

    pub fn json(&self) -> String {
        let scenarios = self.results.iter().map(|result| {
            let rows = result.rows.iter().map(|row| match &row.figures {
                Ok(f) => {
                    let latency = f.latency.map_or("null".into(), |latency| format!("{latency:?}"));
                    format!(
                        "{{\"broker\": {:?}, \"cpu_us\": {:.4}, \"generator_cpu_us\": {:.4}, \"per_second\": {:.1}, \
                         \"latency_us\": {latency}, \"resident\": {}, \"table\": {}, \"lost\": {}, \"duplicated\": {}, \
                         \"reordered\": {}}}",
                        row.broker,
                        f.cpu,
                        f.generator_cpu,
                        f.rate,
                        f.resident,
                        f.table,
                        f.faults.lost,
                        f.faults.duplicated,
                        f.faults.reordered
                    )
                }
                Err((why, _)) => format!("{{\"broker\": {:?}, \"not_measured\": {why:?}}}", row.broker),
            });
            let rows: Vec<_> = rows.collect();
            format!("    {{\"scenario\": {:?}, \"results\": [\n      {}\n    ]}}", result.name, rows.join(",\n      "))
        });
        let scenarios: Vec<_> = scenarios.collect();
        format!(
            "{{\n  \"machine\": {:?}, \"rounds\": {}, \"load\": {:?},\n  \"scenarios\": [\n{}\n  ]\n}}\n",
            machine(),
            self.rounds,
            self.loads,
            scenarios.join(",\n")
        )
    }
}

fn figures(row: &Row) -> Option<&Figures> {
    row.figures.as_ref().ok()
}

fn floor(result: &ScenarioResult) -> Option<f64> {
    result.rows.iter().find(|row| row.kind == Kind::Relay).and_then(figures).map(|figures| figures.cpu)
}

fn cpu_cell(result: &ScenarioResult, figures: &Figures) -> String {
    match floor(result) {
        Some(floor) => format!("{} (×{:.1})", short(figures.cpu), figures.cpu / floor),
        None => short(figures.cpu),
    }
}

/// Whether the first Goldcrest reaches its goal: in microseconds on this machine, or as a multiple of the relay.
fn goal_cell(result: &ScenarioResult) -> String {
    let Some(Goal { floor: goal_floor, target }) = result.goal else { return String::new() };
    let goldcrest = result.rows.iter().find(|row| row.kind.is_goldcrest()).and_then(figures).map(|figures| figures.cpu);
    let Some(cpu) = goldcrest else { return short(target) };
    let by_ratio = goal_floor.zip(floor(result)).map(|(there, here)| (target / there, cpu / here));
    let mut cell = short(target);
    if let Some(there) = goal_floor {
        let _ = write!(cell, " (×{:.1} of {there})", target / there);
    }
    cell += match (cpu <= target, by_ratio) {
        (true, _) => ": met",
        (false, Some((goal, ratio))) if ratio <= goal => ": met as a multiple",
        _ => ": not met",
    };
    cell
}

fn rate_cell(_: &ScenarioResult, figures: &Figures) -> String {
    thousands(figures.rate as usize)
}

fn lead_cell(result: &ScenarioResult) -> String {
    let best = |is_ours: bool| {
        let rows = result.rows.iter().filter(|row| row.kind != Kind::Relay && row.kind.is_goldcrest() == is_ours);
        rows.filter_map(figures).map(|figures| figures.rate).reduce(f64::max)
    };
    best(true).zip(best(false)).map_or(String::new(), |(ours, others)| format!("×{:.1}", ours / others))
}

fn latency_cell(_: &ScenarioResult, figures: &Figures) -> String {
    figures.latency.map_or(String::new(), |latency| latency.map(|us| thousands(us as usize)).join(" / "))
}

fn memory_cell(result: &ScenarioResult, figures: &Figures) -> String {
    let (count, what) = result.of.unwrap_or((1, ""));
    format!("{:.0} B a {what}, {:.1} MB", figures.table / count as f64, figures.resident / 1e6)
}

fn short(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.2}"),
        us if us < 100.0 => format!("{us:.1}"),
        us => thousands(us as usize),
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {}, Linux {}", model.unwrap_or(std::env::consts::ARCH), kernel.trim())
}

/// The day `days` days after 1 January 1970, in ISO 8601.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{}-{month:02}-{day:02}", era * 400 + year_of_era + carry)
}
