//! The client's upcalls: `org.httpkit.jni.ClientUpcalls`, with ids resolved once per loop.

use std::cell::Cell;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use httpkit_core::client::{CallError, CallId, ErrorKind, Head, Sink, Version};
use httpkit_core::net::hosted::{TransportHost, TransportId};
use jni::errors::Result;
use jni::ids::JStaticMethodID;
use jni::objects::{JByteArray, JClass, JThrowable};
use jni::refs::Global;
use jni::signature::{Primitive, ReturnType};
use jni::strings::JNIStr;
use jni::sys::{JNIEnv, jint, jvalue};
use jni::{AttachGuard, Env, jni_sig, jni_str};

use crate::border::abi;
use crate::border::error::upcall;

/// Local references of an upcall.
const REFERENCES: usize = 4;

/// Only a running loop keeps it: the reference prevents the class, its class loader and everything loaded through that
/// from being collected.
struct Methods {
    class: Global<JClass<'static>>,
    done: JStaticMethodID,
    head: JStaticMethodID,
    body: JStaticMethodID,
    end: JStaticMethodID,
    failed: JStaticMethodID,
    room: JStaticMethodID,
    send_credit: JStaticMethodID,
    open: JStaticMethodID,
    start_tls: JStaticMethodID,
    write: JStaticMethodID,
    read_credit: JStaticMethodID,
    close: JStaticMethodID,
}

impl Methods {
    /// An error names what is missing.
    fn resolve(env: &mut Env<'_>) -> Result<Self> {
        let class = env.find_class(CLASS)?;
        macro_rules! method {
            ($name:literal, $signature:literal) => {
                env.get_static_method_id(&class, jni_str!($name), jni_sig!($signature))?
            };
        }
        Ok(Self {
            done: method!("callDone", "(JII[B[B)Z"),
            head: method!("callHead", "(JII[B)Z"),
            body: method!("callBody", "(J[B)Z"),
            end: method!("callEnd", "(J)Z"),
            failed: method!("callFailed", "(JILjava/lang/String;J)Z"),
            room: method!("room", "()J"),
            send_credit: method!("callSendCredit", "(JI)Z"),
            open: method!("transportOpen", "(JJ)Z"),
            start_tls: method!("transportStartTls", "(JJI)Z"),
            write: method!("transportWrite", "(J[B)Z"),
            read_credit: method!("transportReadCredit", "(JI)Z"),
            close: method!("transportClose", "(J)Z"),
            class: env.new_global_ref(&class)?,
        })
    }
}

const CLASS: &JNIStr = jni_str!("org/httpkit/jni/ClientUpcalls");

/// `failure`, for exceptions of native methods.
fn failure(env: &mut Env<'_>, class: &JClass<'_>) -> Result<JStaticMethodID> {
    let signature = jni_sig!("(ILjava/lang/String;)Ljava/lang/Throwable;");
    env.get_static_method_id(class, jni_str!("failure"), signature)
}

/// Looks everything up once, so that a mismatched Java side fails when the library loads.
pub(crate) fn check(env: &mut Env<'_>) -> Result<()> {
    let methods = Methods::resolve(env)?;
    failure(env, &methods.class)?;
    Ok(())
}

/// Throws Java's exception for a failure.
pub(crate) fn throw(env: &mut Env<'_>, error: &CallError) -> Result<()> {
    let class = env.find_class(CLASS)?;
    let failure = failure(env, &class)?;
    let message = env.new_string(&error.message)?;
    let args = [
        jvalue {
            i: kind_number(error.kind),
        },
        jvalue {
            l: message.as_raw(),
        },
    ];
    // SAFETY: `failure` got the id from this class, with this signature.
    let made =
        unsafe { env.call_static_method_unchecked(&class, failure, ReturnType::Object, &args) }?
            .l()?;
    // SAFETY: `failure` returns a Throwable, and the reference is this one's alone.
    let throwable = unsafe { JThrowable::from_raw(env, made.into_raw()) };
    match env.throw(&throwable) {
        // The crate reports the exception that it has just thrown as an error.
        Err(jni::errors::Error::JavaException) => Ok(()),
        other => other,
    }
}

thread_local! {
    /// Of the native frame in which this thread runs a loop; null outside.
    static ENV: Cell<*mut JNIEnv> = const { Cell::new(ptr::null_mut()) };
}

/// Runs a loop on this thread, whose upcalls use `env` meanwhile.
pub(crate) fn on_this_thread<R>(env: &mut Env<'_>, run: impl FnOnce() -> R) -> R {
    struct Restore(*mut JNIEnv);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENV.set(self.0);
        }
    }
    let _restore = Restore(ENV.replace(env.get_raw()));
    run()
}

/// The sink of one loop, used by the thread that runs it.
pub(crate) struct JavaSink {
    methods: Methods,
    /// A buffer in which header blocks are assembled.
    block: Mutex<Vec<u8>>,
}

impl JavaSink {
    pub(crate) fn new(env: &mut Env<'_>) -> Result<Self> {
        Ok(Self {
            methods: Methods::resolve(env)?,
            block: Mutex::default(),
        })
    }

    /// Runs an upcall in a local frame, which releases the references that it creates, because the loop never returns
    /// to Java. `false` if Java did not accept it.
    fn call(&self, run: impl FnOnce(&mut Env<'_>, &Methods) -> Result<bool>) -> bool {
        let env = ENV.get();
        if env.is_null() {
            return false;
        }
        // SAFETY: `on_this_thread` has set it to the environment of this thread, whose frame is still there: it is
        // reset before that ends.
        let mut guard = unsafe { AttachGuard::from_unowned(env) };
        let mut taken = false;
        let called = upcall(guard.borrow_env_mut(), REFERENCES, |env| {
            taken = run(env, &self.methods)?;
            Ok(())
        });
        called && taken
    }

    /// An upcall that only passes numbers.
    fn tell(&self, method: JStaticMethodID, args: &[jvalue]) -> bool {
        self.call(|env, methods| taken(env, methods, method, args))
    }

    fn with_block<'local>(
        &self,
        env: &mut Env<'local>,
        head: &Head<'_>,
    ) -> Result<JByteArray<'local>> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        block.clear();
        head.headers.encode(&mut block);
        env.byte_array_from_slice(&block)
    }
}

/// Calls a method that returns whether it accepted the event.
fn taken(
    env: &mut Env<'_>,
    methods: &Methods,
    method: JStaticMethodID,
    args: &[jvalue],
) -> Result<bool> {
    let boolean = ReturnType::Primitive(Primitive::Boolean);
    // SAFETY: `Methods::resolve` got the id from this class, and each caller passes the
    // arguments of the signature given there.
    unsafe { env.call_static_method_unchecked(&methods.class, method, boolean, args) }?.z()
}

fn long(id: u64) -> jvalue {
    jvalue { j: id as i64 }
}

fn int(n: jint) -> jvalue {
    jvalue { i: n }
}

fn count(n: usize) -> jvalue {
    int(jint::try_from(n).unwrap_or(jint::MAX))
}

fn flags(head: &Head<'_>) -> jint {
    match head.version {
        Version::Http10 => abi::HEAD_HTTP10,
        Version::Http11 => 0,
    }
}

impl Sink for JavaSink {
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool {
        self.call(|env, methods| {
            let headers = self.with_block(env, head)?;
            let body = match body {
                [] => JByteArray::null(),
                body => env.byte_array_from_slice(body)?,
            };
            let args = [
                long(call),
                int(head.status.into()),
                int(flags(head)),
                jvalue {
                    l: headers.as_raw(),
                },
                jvalue { l: body.as_raw() },
            ];
            taken(env, methods, methods.done, &args)
        })
    }

    fn on_head(&self, call: CallId, head: &Head<'_>) -> bool {
        self.call(|env, methods| {
            let headers = self.with_block(env, head)?;
            let args = [
                long(call),
                int(head.status.into()),
                int(flags(head)),
                jvalue {
                    l: headers.as_raw(),
                },
            ];
            taken(env, methods, methods.head, &args)
        })
    }

    /// 0 if Java cannot even be asked.
    fn room(&self) -> u64 {
        let mut room = 0;
        self.call(|env, methods| {
            let long = ReturnType::Primitive(Primitive::Long);
            // SAFETY: `Methods::resolve` got the id from this class, with this signature.
            let answer = unsafe {
                env.call_static_method_unchecked(&methods.class, methods.room, long, &[])
            };
            room = u64::try_from(answer?.j()?).unwrap_or(0);
            Ok(true)
        });
        room
    }

    fn on_body(&self, call: CallId, data: &[u8]) -> bool {
        self.call(|env, methods| {
            let data = env.byte_array_from_slice(data)?;
            let args = [long(call), jvalue { l: data.as_raw() }];
            taken(env, methods, methods.body, &args)
        })
    }

    fn on_end(&self, call: CallId) -> bool {
        self.tell(self.methods.end, &[long(call)])
    }

    /// Reported without its text if there is no memory for that.
    fn on_failure(&self, call: CallId, error: &CallError, transport: Option<TransportId>) -> bool {
        let kind = int(kind_number(error.kind));
        let transport = long(transport.unwrap_or(0));
        let args = |message| [long(call), kind, jvalue { l: message }, transport];
        let told = self.call(|env, methods| {
            let message = env.new_string(&error.message)?;
            taken(env, methods, methods.failed, &args(message.as_raw()))
        });
        told || self.tell(self.methods.failed, &args(ptr::null_mut()))
    }

    fn on_send_credit(&self, call: CallId, n: usize) -> bool {
        self.tell(self.methods.send_credit, &[long(call), count(n)])
    }
}

impl TransportHost for JavaSink {
    fn transport_open(&self, transport: TransportId, call: u64) -> bool {
        self.tell(self.methods.open, &[long(transport), long(call)])
    }

    fn transport_start_tls(&self, transport: TransportId, call: u64, level: u8) -> bool {
        let args = [long(transport), long(call), int(level.into())];
        self.tell(self.methods.start_tls, &args)
    }

    fn transport_write(&self, transport: TransportId, data: &[u8]) -> bool {
        self.call(|env, methods| {
            let data = env.byte_array_from_slice(data)?;
            let args = [long(transport), jvalue { l: data.as_raw() }];
            taken(env, methods, methods.write, &args)
        })
    }

    fn transport_read_credit(&self, transport: TransportId, n: usize) -> bool {
        self.tell(self.methods.read_credit, &[long(transport), count(n)])
    }

    fn transport_close(&self, transport: TransportId) {
        // Java accepts this one even without memory, see `ClientUpcalls`.
        let _ = self.tell(self.methods.close, &[long(transport)]);
    }
}

pub(crate) fn kind_number(kind: ErrorKind) -> jint {
    match kind {
        ErrorKind::Io => abi::FAIL_IO,
        ErrorKind::Connect => abi::FAIL_CONNECT,
        ErrorKind::Socket => abi::FAIL_SOCKET,
        ErrorKind::NoRoute => abi::FAIL_NO_ROUTE,
        ErrorKind::Bind => abi::FAIL_BIND,
        ErrorKind::Timeout => abi::FAIL_TIMEOUT,
        ErrorKind::Protocol => abi::FAIL_PROTOCOL,
        ErrorKind::LineTooLarge => abi::FAIL_LINE_TOO_LARGE,
        ErrorKind::HeadersTooLarge => abi::FAIL_HEADERS_TOO_LARGE,
        ErrorKind::Abort => abi::FAIL_ABORT,
        ErrorKind::Zip => abi::FAIL_ZIP,
        ErrorKind::Eof => abi::FAIL_EOF,
        ErrorKind::SslHandshake => abi::FAIL_SSL_HANDSHAKE,
        ErrorKind::Ssl => abi::FAIL_SSL,
        ErrorKind::Stopped => abi::FAIL_STOPPED,
        ErrorKind::Cancelled => abi::FAIL_CANCELLED,
        ErrorKind::Hosted => abi::FAIL_HOSTED,
        ErrorKind::Argument => abi::FAIL_ARGUMENT,
        ErrorKind::Internal => abi::FAIL_INTERNAL,
        ErrorKind::TooLarge => abi::FAIL_TOO_LARGE,
        ErrorKind::SourceFailed => abi::FAIL_SOURCE,
    }
}
