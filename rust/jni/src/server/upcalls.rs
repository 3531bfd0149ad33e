//! Upcalls: the few Java methods that Rust calls, with ids resolved once per server.

use jni::ids::JMethodID;
use jni::objects::{JByteArray, JClass, JObject, JObjectArray};
use jni::refs::Global;
use jni::signature::{Primitive, ReturnType};
use jni::sys::jvalue;
use jni::vm::{AttachConfig, AttachmentExceptionPolicy};
use jni::{Env, JavaVM, jni_sig, jni_str};

use super::work::Handover;
use crate::border::error::{failed, upcall};

/// Local references of an upcall; those of [`ServerUpcalls::on_work`]'s elements are released one by one.
const REFERENCES: usize = 4;

/// `org.httpkit.jni.ServerUpcalls`. Only a server keeps it, since the classes that it refers to cannot be collected
/// meanwhile.
#[derive(Debug)]
struct ServerMethods {
    on_work: JMethodID,
    on_starved: JMethodID,
    on_drained: JMethodID,
    on_body: JMethodID,
    on_overdue: JMethodID,
    on_closing: JMethodID,
    on_notice: JMethodID,
    bytes_class: Global<JClass<'static>>,
}

impl ServerMethods {
    /// An error names what is missing.
    fn resolve(env: &mut Env<'_>) -> jni::errors::Result<Self> {
        let class = env.find_class(jni_str!("org/httpkit/jni/ServerUpcalls"))?;
        let bytes = env.find_class(jni_str!("[B"))?;
        Ok(Self {
            on_work: env.get_method_id(&class, jni_str!("onWork"), jni_sig!("([[B)V"))?,
            on_starved: env.get_method_id(&class, jni_str!("onStarved"), jni_sig!("(I)V"))?,
            on_drained: env.get_method_id(&class, jni_str!("onDrained"), jni_sig!("(JZ)V"))?,
            on_body: env.get_method_id(&class, jni_str!("onBody"), jni_sig!("(J)V"))?,
            on_overdue: env.get_method_id(&class, jni_str!("onOverdue"), jni_sig!("(J)V"))?,
            on_closing: env.get_method_id(
                &class,
                jni_str!("onClosing"),
                jni_sig!("(JILjava/lang/String;)V"),
            )?,
            on_notice: env.get_method_id(
                &class,
                jni_str!("onNotice"),
                jni_sig!("(IILjava/lang/String;)V"),
            )?,
            bytes_class: env.new_global_ref(bytes)?,
        })
    }
}

/// Looks everything up once, so that a mismatched Java side fails when the library loads.
pub(crate) fn check(env: &mut Env<'_>) -> jni::errors::Result<()> {
    ServerMethods::resolve(env).map(drop)
}

/// One server's `ServerUpcalls` object. Called on loop threads, which Java started.
#[derive(Debug)]
pub(crate) struct ServerUpcalls {
    vm: JavaVM,
    methods: ServerMethods,
    object: Global<JObject<'static>>,
}

impl ServerUpcalls {
    pub(crate) fn new(env: &mut Env<'_>, object: &JObject<'_>) -> jni::errors::Result<Self> {
        Ok(Self {
            vm: env.get_java_vm()?,
            methods: ServerMethods::resolve(env)?,
            object: env.new_global_ref(object)?,
        })
    }

    /// Hands blocks of work over. If there is no memory for one, only its connection is closed.
    pub(crate) fn on_work(&self, blocks: Vec<(Handover, Vec<u8>)>) {
        if blocks.is_empty() {
            return;
        }
        self.call(|env, methods| {
            let null = JByteArray::null();
            let array: JObjectArray =
                env.new_object_array(blocks.len() as i32, &methods.bytes_class, &null)?;
            let mut arrived = Vec::with_capacity(blocks.len());
            for (i, (handover, block)) in blocks.into_iter().enumerate() {
                match env.byte_array_from_slice(&block) {
                    Ok(bytes) => {
                        array.set_element(env, i, &bytes)?;
                        env.delete_local_ref(bytes);
                        arrived.push(handover);
                    }
                    Err(error) => failed(env, &error),
                }
            }
            // From here on nothing can fail before Java has them.
            arrived.into_iter().for_each(Handover::arrived);
            self.void(env, methods.on_work, &[jvalue { l: array.as_raw() }])
        });
    }

    pub(crate) fn on_starved(&self, waiting: usize) {
        let waiting = i32::try_from(waiting).unwrap_or(i32::MAX);
        self.call(|env, methods| self.void(env, methods.on_starved, &[jvalue { i: waiting }]));
    }

    /// False if the upcall failed.
    pub(crate) fn on_drained(&self, name: i64, written: bool) -> bool {
        self.call(|env, methods| {
            let args = [jvalue { j: name }, jvalue { z: written }];
            self.void(env, methods.on_drained, &args)
        })
    }

    /// False if the upcall failed.
    pub(crate) fn on_body(&self, name: i64) -> bool {
        self.call(|env, methods| self.void(env, methods.on_body, &[jvalue { j: name }]))
    }

    pub(crate) fn on_overdue(&self, name: i64) {
        self.call(|env, methods| self.void(env, methods.on_overdue, &[jvalue { j: name }]));
    }

    pub(crate) fn on_closing(&self, name: i64, code: i32, reason: &str) {
        self.call(|env, methods| {
            let reason = env.new_string(reason)?;
            let args = [
                jvalue { j: name },
                jvalue { i: code },
                jvalue { l: reason.as_raw() },
            ];
            self.void(env, methods.on_closing, &args)
        });
    }

    pub(crate) fn on_notice(&self, kind: i32, code: i32, message: &str) {
        self.call(|env, methods| {
            let message = env.new_string(message)?;
            let args = [
                jvalue { i: kind },
                jvalue { i: code },
                jvalue {
                    l: message.as_raw(),
                },
            ];
            self.void(env, methods.on_notice, &args)
        });
    }

    fn void(
        &self,
        env: &mut Env<'_>,
        method: JMethodID,
        args: &[jvalue],
    ) -> jni::errors::Result<()> {
        let void = ReturnType::Primitive(Primitive::Void);
        // SAFETY: `ServerMethods::resolve` got the id from the class that Java declares for this object's
        // parameter, and each caller above passes the arguments of the signature given there.
        unsafe { env.call_method_unchecked(&self.object, method, void, args) }?;
        Ok(())
    }

    /// Runs an upcall; false if it failed.
    fn call(
        &self,
        run: impl FnOnce(&mut Env<'_>, &ServerMethods) -> jni::errors::Result<()>,
    ) -> bool {
        // The crate's own way to catch exceptions asks them for their message, which may throw again.
        let config = || AttachConfig::new().exceptions_policy(AttachmentExceptionPolicy::Ignore);
        let called = self
            .vm
            .attach_current_thread_with_config(config, None, |env| {
                let run = |env: &mut Env<'_>| run(env, &self.methods);
                jni::errors::Result::Ok(upcall(env, REFERENCES, run))
            });
        called.unwrap_or(false)
    }
}
