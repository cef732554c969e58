//! Measures brokers against each other, and against sockets without any protocol. See README.md.

mod broker;
mod connection;
mod others;
mod packet;
mod process;
mod relay;
mod report;
mod scenario;
mod traffic;

use broker::{Broker, Kind};
use report::{Figures, Report, Row};
use scenario::{Scenario, Work};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use traffic::{Outcome, Times};

const USAGE: &str = "\
Usage: goldcrest-bench [OPTIONS] BROKER...
       goldcrest-bench relay PORT

BROKER is KIND=PROGRAM or NAME:KIND=PROGRAM, with KIND one of relay, goldcrest, goldcrest-2 (with two shards), flashmq,
mosquitto, nats, rumqttd, aedes. They run in turn.

Options:
  --quick            one round of a second each, and smaller crowds
  --rounds N         rounds, of which the medians count [default: 3]
  --seconds S        time that each is measured for [default: 3]
  --only TEXT        scenarios whose name has TEXT in it; may be repeated
  --durable          the scenarios that need a store, instead of the others
  --markdown FILE    where the tables are written to, besides standard output
  --json FILE        where all figures are written to
  --list             print the names of the scenarios
";

struct Options {
    quick: bool,
    rounds: usize,
    times: Times,
    only: Vec<String>,
    durable: bool,
    list: bool,
    markdown: Option<PathBuf>,
    json: Option<PathBuf>,
    brokers: Vec<Broker>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("relay") => relay(&arguments).map(|()| true),
        _ => parse(&arguments).and_then(|options| measure(&options)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("goldcrest-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn relay(arguments: &[String]) -> Result<(), String> {
    let port = arguments.get(1).and_then(|port| port.parse().ok()).ok_or(USAGE)?;
    relay::run(port).map_err(|error| error.to_string())
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let times = |seconds: f64| Times {
        warm_up: Duration::from_secs_f64(seconds / 4.0),
        measure: Duration::from_secs_f64(seconds),
    };
    let mut options = Options {
        quick: false,
        rounds: 3,
        times: times(3.0),
        only: Vec::new(),
        durable: false,
        list: false,
        markdown: None,
        json: None,
        brokers: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => {
                options.quick = true;
                options.rounds = 1;
                options.times = times(1.0);
            }
            "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?,
            "--seconds" => options.times = times(value()?.parse().map_err(|_| "--seconds needs a number")?),
            "--only" => options.only.push(value()?.clone()),
            "--durable" => options.durable = true,
            "--list" => options.list = true,
            "--markdown" => options.markdown = Some(value()?.into()),
            "--json" => options.json = Some(value()?.into()),
            text => options.brokers.push(parse_broker(text).ok_or_else(|| format!("what is {text}?\n{USAGE}"))?),
        }
    }
    if options.brokers.is_empty() && !options.list || options.rounds == 0 {
        return Err(USAGE.into());
    }
    Ok(options)
}

fn parse_broker(text: &str) -> Option<Broker> {
    let (what, program) = text.split_once('=')?;
    let (name, kind) = what.split_once(':').unwrap_or((what, what));
    let kind = match kind {
        "relay" => Kind::Relay,
        "goldcrest" => Kind::Goldcrest { shards: 1, has_rules: false },
        "goldcrest-2" => Kind::Goldcrest { shards: 2, has_rules: false },
        "goldcrest-rules" => Kind::Goldcrest { shards: 1, has_rules: true },
        "flashmq" => Kind::FlashMq,
        "mosquitto" => Kind::Mosquitto,
        "nats" => Kind::Nats,
        "rumqttd" => Kind::Rumqttd,
        "aedes" => Kind::Aedes,
        _ => return None,
    };
    Some(Broker { name: name.into(), kind, program: program.into() })
}

/// Returns whether Goldcrest lost, duplicated and reordered no message.
fn measure(options: &Options) -> Result<bool, String> {
    let scenarios = if options.durable { scenario::durable() } else { scenario::all(options.quick) };
    let wanted = |scenario: &Scenario| {
        options.only.is_empty() || options.only.iter().any(|text| scenario.name.contains(text.as_str()))
    };
    let scenarios: Vec<_> = scenarios.into_iter().filter(wanted).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(true);
    }
    raise_descriptors()?;
    let mut report = Report::new(&options.brokers, options.rounds);
    for scenario in &scenarios {
        let rows = measure_scenario(options, scenario);
        report.add(scenario, rows);
    }
    let markdown = report.markdown();
    print!("{markdown}");
    if let Some(file) = &options.markdown {
        std::fs::write(file, &markdown).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(report.is_goldcrest_sound())
}

/// Measures all brokers in turn, so that other load on the machine is spread over them.
fn measure_scenario(options: &Options, scenario: &Scenario) -> Vec<Row> {
    let mut rounds: Vec<Vec<Outcome>> = vec![Vec::new(); options.brokers.len()];
    let mut failures: Vec<Option<String>> =
        options.brokers.iter().map(|broker| broker.kind.cannot(scenario).map(str::to_owned)).collect();
    let skipped: Vec<bool> = failures.iter().map(Option::is_some).collect();
    for round in 1..=options.rounds {
        for (index, broker) in options.brokers.iter().enumerate() {
            if failures[index].is_some() {
                continue;
            }
            let outcome = measure_once(options, scenario, broker);
            let shown = match &outcome {
                Ok(outcome) => format!(
                    "{:.3} us CPU (generator {:.3}), {:.0}/s{}",
                    outcome.cpu,
                    outcome.generator_cpu,
                    outcome.rate,
                    if outcome.faults == traffic::Faults::default() {
                        "".into()
                    } else {
                        format!(", {:?}", outcome.faults)
                    }
                ),
                Err(error) => error.clone(),
            };
            let load = process::load_average();
            eprintln!("{}, round {round}, {} (load {load}): {shown}", scenario.name, broker.name);
            match outcome {
                Ok(outcome) => rounds[index].push(outcome),
                Err(error) => failures[index] = Some(error),
            }
        }
    }
    let rows = options.brokers.iter().zip(rounds).zip(failures.into_iter().zip(skipped));
    rows.map(|((broker, outcomes), (failure, skipped))| Row {
        broker: broker.name.clone(),
        kind: broker.kind,
        figures: match failure {
            Some(why) => Err((why, skipped)),
            None => Ok(Figures::medians(&outcomes)),
        },
    })
    .collect()
}

fn measure_once(options: &Options, scenario: &Scenario, broker: &Broker) -> Result<Outcome, String> {
    let running = broker.kind.start(&broker.program, scenario)?;
    let target = &running.target;
    match &scenario.work {
        Work::Traffic(plan) => {
            let plan = traffic::Plan { durable: scenario.durable, ..plan() };
            traffic::run(target, &plan, &options.times)
        }
        Work::Table { plan, .. } => traffic::run(target, &plan(), &options.times),
        Work::Idle(count) => others::idle(target, *count),
        Work::Retained(count) => others::retained(target, *count),
    }
}

/// Raises the limit of file descriptors for thousands of connections, here and in the brokers, which inherit the limit.
fn raise_descriptors() -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| error.to_string())
}
