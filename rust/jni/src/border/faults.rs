//! Panics on demand, for `tests/faults`: only in builds with the feature `faults`, never in the jar.
//!
//! Every native method passes a [`point`], most of them where they look up their handle; so do the loops, when they
//! hand work over. The Java side is `org.httpkit.jni.Faults`, which the JVM links by name.

#[cfg(not(feature = "faults"))]
pub(crate) fn point() {}

#[cfg(not(feature = "faults"))]
pub(crate) fn loading() {}

#[cfg(feature = "faults")]
pub(crate) use enabled::{loading, point};

#[cfg(feature = "faults")]
mod enabled {
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicU32, Ordering};

    use jni::sys::jint;

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }
    static EVERY: AtomicU32 = AtomicU32::new(0);
    static PASSED: AtomicU32 = AtomicU32::new(0);

    /// Panics if this thread was armed, or if it is every n-th point's turn.
    pub(crate) fn point() {
        if ARMED.replace(false) {
            panic!("fault injected on {:?}", std::thread::current().id());
        }
        let every = EVERY.load(Ordering::Relaxed);
        if every > 0 {
            let passed = PASSED.fetch_add(1, Ordering::Relaxed);
            if passed % every == every - 1 {
                panic!("fault injected at point {passed}");
            }
        }
    }

    /// Panics while the library is being loaded, if the environment asks for it: nothing can be armed that early.
    pub(crate) fn loading() {
        if std::env::var_os("HTTPKIT_FAULT_AT_LOAD").is_some() {
            panic!("fault injected while loading");
        }
    }

    /// The next point on the calling thread panics.
    #[unsafe(no_mangle)]
    pub extern "system" fn Java_org_httpkit_jni_Faults_arm(_: *mut c_void, _: *mut c_void) {
        ARMED.set(true);
    }

    /// Every `n`-th point panics, on any thread; none with 0.
    #[unsafe(no_mangle)]
    pub extern "system" fn Java_org_httpkit_jni_Faults_every(
        _: *mut c_void,
        _: *mut c_void,
        n: jint,
    ) {
        // Thousands of panic messages would hide a test's output.
        std::panic::set_hook(Box::new(|_| {}));
        EVERY.store(n.unsigned_abs(), Ordering::Relaxed);
    }
}
