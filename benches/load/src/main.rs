//! Puts load on servers that run already and says what each of them spends on it.
//!
//!     httpkit-load [--quick] [--only name,...] [--rounds n] [--raw file] server...
//!     httpkit-load --memory idle|ws-idle server...
//!
//! A server is `name,pid,port,skip+skip...`: workloads that it does not have are named after the port. With `,tls` after
//! them, that port speaks TLS.
//! Slices of all servers alternate, so that a slow moment of the machine affects all of them;
//! processor time comes from the kernel's accounting of the server's threads. Tables go to stdout.

mod answer;
mod broadcast;
mod client;
mod paced;
mod process;
mod report;
mod wire;
mod workload;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use broadcast::Group;
use client::{Client, Idle, Outcome};
use paced::Paced;
use process::Reading;
use report::{Series, Slice};
use workload::{Kind, Workload};

#[derive(Debug)]
struct Server {
    name: String,
    pid: u32,
    port: u16,
    skipped: Vec<String>,
    tls: bool,
}

#[derive(Debug)]
struct Plan {
    quick: bool,
    only: Vec<String>,
    /// Only this, `idle` or `ws-idle`.
    memory: Option<String>,
    raw: Option<String>,
    rounds: usize,
    /// Of what is measured in one go.
    slice: Duration,
    warm_up: Duration,
    servers: Vec<Server>,
}

/// Connections settle in before each slice.
const RAMP: Duration = Duration::from_millis(60);
/// After the warm-up of all workloads, before a workload is measured.
const REFRESH: Duration = Duration::from_millis(400);
/// Rounds of opening some before all idle ones are opened.
const WARM_UPS: usize = 20;
const IDLE_CONNECTIONS: usize = 15_000;
const IDLE_WEBSOCKETS: usize = 10_000;

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    match plan(&arguments).and_then(|plan| run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("httpkit-load: {e}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> io::Result<Plan> {
    let mut plan = Plan {
        quick: false,
        only: Vec::new(),
        memory: None,
        raw: None,
        rounds: 0,
        slice: Duration::from_millis(300),
        warm_up: Duration::from_millis(2500),
        servers: Vec::new(),
    };
    let mut arguments = arguments.iter();
    let missing = || io::Error::other("an option without its value");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => plan.quick = true,
            "--only" => {
                let names = arguments.next().ok_or_else(missing)?;
                plan.only = names.split(',').map(str::to_owned).collect();
            }
            "--memory" => plan.memory = Some(arguments.next().ok_or_else(missing)?.clone()),
            "--raw" => plan.raw = Some(arguments.next().ok_or_else(missing)?.clone()),
            "--rounds" => {
                let n = arguments.next().ok_or_else(missing)?;
                plan.rounds = n.parse().map_err(|_| missing())?;
            }
            server => plan.servers.push(read_server(server)?),
        }
    }
    if plan.quick {
        plan.slice = Duration::from_millis(200);
        plan.warm_up = Duration::from_millis(1500);
    }
    if plan.rounds == 0 {
        plan.rounds = if plan.quick { 7 } else { 15 };
    }
    Ok(plan)
}

fn read_server(text: &str) -> io::Result<Server> {
    let wrong = || io::Error::other(format!("{text}: not name,pid,port[,workloads to skip]"));
    let mut parts = text.split(',');
    let mut next = || parts.next().ok_or_else(wrong);
    Ok(Server {
        name: next()?.to_owned(),
        pid: next()?.parse().map_err(|_| wrong())?,
        port: next()?.parse().map_err(|_| wrong())?,
        skipped: next()
            .map(|names| names.split('+').map(str::to_owned).collect())
            .unwrap_or_default(),
        tls: parts.next() == Some("tls"),
    })
}

impl Plan {
    fn wants(&self, name: &str, quick: bool) -> bool {
        if self.only.is_empty() {
            quick || !self.quick
        } else {
            self.only.iter().any(|only| only == name)
        }
    }

    fn having(&self, name: &str) -> Vec<&Server> {
        self.servers
            .iter()
            .filter(|server| !server.skipped.iter().any(|skipped| skipped == name))
            .collect()
    }
}

fn run(plan: &Plan) -> io::Result<()> {
    match plan.memory.as_deref() {
        None => run_workloads(plan),
        Some("idle") => memory(plan, "idle", IDLE_CONNECTIONS, false),
        Some("ws-idle") => memory(plan, "ws-idle", IDLE_WEBSOCKETS, true),
        Some(other) => Err(io::Error::other(format!(
            "--memory {other}: idle or ws-idle"
        ))),
    }
}

/// Connections to one server under one workload.
enum Load<'a> {
    Client(Client<'a>),
    Paced(Paced<'a>),
    Group(Group<'a>),
}

impl<'a> Load<'a> {
    fn open(workload: &'a Workload, server: &Server) -> io::Result<Self> {
        Ok(match &workload.pace {
            Some(_) if server.tls => {
                return Err(io::Error::other("requests at a rate know no TLS"));
            }
            Some(pace) => Self::Paced(Paced::open(workload, pace, server.port)?),
            None if workload.kind == Kind::Broadcast => Self::group(workload, server)?,
            None => Self::Client(Client::open(workload, server.port, server.tls)?),
        })
    }

    fn group(workload: &'a Workload, server: &Server) -> io::Result<Self> {
        match server.tls {
            true => Err(io::Error::other("broadcasts know no TLS")),
            false => Ok(Self::Group(Group::open(workload, server.port)?)),
        }
    }

    fn run(&mut self, time: Duration) -> io::Result<Outcome> {
        match self {
            Self::Client(client) => client.run(time),
            Self::Paced(paced) => paced.run(time),
            Self::Group(group) => group.run(time),
        }
    }
}

fn run_workloads(plan: &Plan) -> io::Result<()> {
    let mut workloads = workload::all();
    workloads.retain(|workload| plan.wants(workload.name, workload.quick));
    // Everything is warm before anything is measured: what a JVM has learnt from the first
    // workload must not depend on which one that was.
    for workload in &workloads {
        for server in plan.having(workload.name) {
            eprintln!("warming {} with {}", server.name, workload.name);
            Load::open(workload, server)?.run(plan.warm_up)?;
        }
    }
    let mut raw = String::from(report::RAW_HEAD);
    for workload in &workloads {
        let series = measure(plan, workload)?;
        let title = format!(
            "{}: {} ({} connections)",
            workload.name, workload.about, workload.connections
        );
        println!("{}", report::table(&title, &series));
        raw += &report::raw(workload.name, &series);
    }
    if let Some(file) = &plan.raw {
        std::fs::write(file, raw)?;
    }
    Ok(())
}

fn measure(plan: &Plan, workload: &Workload) -> io::Result<Vec<Series>> {
    let servers = plan.having(workload.name);
    for server in &servers {
        Load::open(workload, server)?.run(REFRESH)?;
    }
    let mut all = servers
        .iter()
        .map(|server| Series {
            server: server.name.clone(),
            slices: Vec::new(),
        })
        .collect::<Vec<_>>();
    for round in 0..plan.rounds {
        eprintln!("{} {}/{}", workload.name, round + 1, plan.rounds);
        for (server, series) in servers.iter().zip(&mut all) {
            let slice = slice(plan, workload, server).map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("{} on {}: {e}", workload.name, server.name),
                )
            })?;
            series.slices.push(slice);
        }
    }
    Ok(all)
}

fn slice(plan: &Plan, workload: &Workload, server: &Server) -> io::Result<Slice> {
    let mut load = Load::open(workload, server)?;
    load.run(RAMP)?;
    let before = Reading::of(server.pid)?;
    let mut outcome = load.run(plan.slice)?;
    let spent = Reading::of(server.pid)?.since(&before);
    outcome.latencies.sort_unstable();
    Ok(Slice {
        requests: outcome.requests,
        seconds: outcome.elapsed.as_secs_f64(),
        spent,
        p50: report::quantile(&outcome.latencies, 0.5),
        p99: report::quantile(&outcome.latencies, 0.99),
    })
}

/// What a server holds after a collection of garbage, once it has come to rest: resident bytes, and those of its
/// heap that are in use.
fn settled(server: &Server) -> io::Result<(f64, f64)> {
    let answer = client::ask(server.port, server.tls, "/gc")?;
    std::thread::sleep(Duration::from_millis(1000));
    // A server without a heap answers something else.
    let heap = answer.trim().parse().unwrap_or(0.0);
    Ok((process::resident(server.pid)? as f64, heap))
}

/// Servers are started for this with a heap that is resident from the start: what a collector keeps for later would
/// otherwise outweigh everything else.
fn memory(plan: &Plan, name: &str, count: usize, websocket: bool) -> io::Result<()> {
    let what = if websocket {
        "WebSockets"
    } else {
        "keep-alive connections"
    };
    let mut out = format!(
        "### {name}: memory of {count} idle {what}, garbage collected\n\n\
         | server | bytes each | of these in the heap |\n|---|---:|---:|\n"
    );
    for server in plan.having(name) {
        eprintln!("{name} on {}", server.name);
        // As many, but never many at once: what a JVM spends on code and profiles is no property of a connection.
        for _ in 0..WARM_UPS {
            drop(Idle::open(
                server.port,
                server.tls,
                count / WARM_UPS,
                websocket,
            )?);
        }
        let before = settled(server)?;
        let idle = Idle::open(server.port, server.tls, count, websocket)?;
        let after = settled(server)?;
        assert_eq!(idle.len(), count);
        let each = |before: f64, after: f64| (after - before) / count as f64;
        let (resident, heap) = (each(before.0, after.0), each(before.1, after.1));
        out += &format!("| {} | {:.0} | {heap:.0} |\n", server.name, resident + heap);
    }
    println!("{out}");
    Ok(())
}
