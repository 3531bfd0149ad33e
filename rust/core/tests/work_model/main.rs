//! The work room under a scheduler that tries thousands of orders in which its threads may go on: a wake-up that is
//! lost in one of them leaves threads that wait for each other, which fails.
//!
//! The room's own files are built here, with the types of `sync.rs` in place of threads and locks. Time limits that
//! mend what was lost (a parked thread's minute) never pass. Orderings weaker than `SeqCst` are taken for it: why
//! those suffice is for `leader.rs` and `parked.rs` to say.
//!
//! It also prints how often locks are taken, and by another thread than before.
//!
//! `WORK_MODEL_ORDERS=100000 cargo test -p httpkit-core --test work_model` looks longer.
// What only the crate and its unit tests use.
#![allow(dead_code, unused_imports)]

mod server;
mod sync;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use server::Request::{Meet, Short};
use server::serve;
use sync::taken;

type Model = fn() -> usize;

const MODELS: [(&str, Model); 8] = [
    ("one_worker_serves_all_and_ends", || {
        serve(1, 1, 1, &[&[Short, Short], &[Short]])
    }),
    ("requests_that_wait_for_each_other_get_two_threads", || {
        serve(1, 1, 2, &[&[Meet, Meet], &[Short], &[Meet, Meet]])
    }),
    ("two_loops_and_two_workers_leave_nothing_behind", || {
        serve(1, 2, 2, &[&[Short, Meet, Meet], &[Short, Short, Short]])
    }),
    ("a_worker_that_is_not_needed_ends_with_the_server", || {
        serve(1, 1, 3, &[&[Short]])
    }),
    ("two_teams_serve_what_their_own_loops_bring", || {
        serve(2, 2, 2, &[&[Short, Short, Short], &[Short]])
    }),
    (
        "a_team_whose_thread_is_occupied_gets_that_of_another",
        || serve(2, 1, 2, &[&[Short], &[Meet, Meet], &[Short]]),
    ),
    ("two_teams_get_each_others_threads_that_run_loops", || {
        serve(
            2,
            2,
            2,
            &[&[Meet, Short, Meet], &[Short, Meet, Short, Meet]],
        )
    }),
    ("teams_without_threads_are_served_by_others", || {
        serve(3, 3, 1, &[&[Short, Short, Short], &[Short, Short]])
    }),
];

/// Orders that are tried of each.
const ORDERS: usize = 1500;
/// More steps are taken only by threads that go round in a circle.
const STEPS: usize = 100_000;

fn main() {
    let orders = std::env::var("WORK_MODEL_ORDERS").map_or(ORDERS, |n| n.parse().unwrap());
    for (name, model) in MODELS {
        let mut config = shuttle::Config::new();
        config.silence_warnings = true;
        config.max_steps = shuttle::MaxSteps::FailAfter(STEPS);
        let scheduler = shuttle::scheduler::RandomScheduler::new(orders);
        taken::counts();
        let served = Arc::new(AtomicUsize::new(0));
        let serving = served.clone();
        shuttle::Runner::new(scheduler, config).run(move || {
            serving.fetch_add(model(), Ordering::Relaxed);
        });
        // Beginning and end of a server are in it, for a few requests: only comparable with itself.
        let served = served.load(Ordering::Relaxed) as f64;
        let (taken, moved) = taken::counts();
        let (taken, moved) = (taken as f64 / served, moved as f64 / served);
        println!(
            "test {name} ... ok ({taken:.1} locks per request, {moved:.1} from another thread)"
        );
    }
    println!(
        "\ntest result: ok. {} passed; 0 failed; {orders} orders each",
        MODELS.len()
    );
}
