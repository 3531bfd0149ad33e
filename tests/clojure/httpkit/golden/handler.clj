(ns httpkit.golden.handler
  "Ring handlers made from data, and the steps they perform on channels
  (`org.httpkit.server/Channel`) and sockets (Ring's `Socket`).

  Only the public API is called, through `requiring-resolve` and reflection:
  the namespace loads without any implementation on the classpath."
  (:require [httpkit.golden.bytes :as bytes]
            [httpkit.golden.record :as record]
            [httpkit.golden.value :refer [value]])
  (:import [clojure.lang Reflector]
           [java.nio ByteBuffer]))

(set! *warn-on-reflection* true)

(defn- api [n]
  @(requiring-resolve (symbol "org.httpkit.server" n)))

(defn- socket-api [n]
  @(requiring-resolve (symbol "ring.websocket.protocols" n)))

(defn- java-call [target method & args]
  (Reflector/invokeInstanceMethod target method (object-array args)))

(declare run-steps)

(defn- to-string-ok? [ch]
  (boolean (re-matches #"\S*/\S+:\d+<->\S*/\S+:\d+" (str ch))))

(defn- channel-step
  "Performs one step on the channel `ch`; the value is what gets logged."
  [{:keys [rec]} ch [op & [a b :as args]]]
  (case op
    ("send" "send-uncaught") (if (< 1 (count args))
                               ((api "send!") ch (value a) b)
                               ((api "send!") ch (value a)))
    "close" ((api "close") ch)
    "server-close" (if b
                     (java-call ch "serverClose" (int a) b)
                     (java-call ch "serverClose" (int a)))
    "open?" ((api "open?") ch)
    "websocket?" ((api "websocket?") ch)
    "has-close-handler" (java-call ch "hasCloseHandler")
    "to-string-ok" (to-string-ok? ch)
    "set-on-close" ((api "on-close") ch #(record/log! rec "on-close" [(str %)]))
    "set-on-receive" ((api "on-receive") ch #(record/log! rec "on-receive" [(record/message %)]))))

(defn- payload [b] (ByteBuffer/wrap (bytes/to-bytes b)))

(defn- socket-step
  "Performs one step on the Ring socket `socket`."
  [{:keys [rec phase]} socket [op a b]]
  (case op
    "send" ((socket-api "-send") socket (value a))
    "send-async" ((socket-api "-send-async") socket (value a)
                                             #(record/log! rec phase ["send-async" "succeed"])
                                             (fn [_] (record/log! rec phase ["send-async" "fail"])))
    "ping" ((socket-api "-ping") socket (payload a))
    "pong" ((socket-api "-pong") socket (payload a))
    "close" ((socket-api "-close") socket (int (or a 1000)) (or b ""))
    "open?" ((socket-api "-open?") socket)))

(defn- loggable [x]
  (if (or (nil? x) (boolean? x) (string? x) (number? x)) x (record/class-name x)))

(defn- log-step [{:keys [rec phase]} op result]
  (record/log! rec phase [op (loggable result)]))

(defn- caught-step [{:keys [perform rec phase] :as ctx} target [op :as step]]
  (try
    (log-step ctx op (perform ctx target step))
    (catch Throwable t
      (record/log! rec phase [op {"throws" (record/class-name t)}]))))

(defn run-steps
  "Performs `steps` on `target` in order. `ctx`: `:rec`, `:phase`, `:perform`
  (channel or socket step), `:message` for echo. A throw step, and whatever
  `send-uncaught` throws, ends them with the exception."
  [{:keys [perform message] :as ctx} target steps]
  (doseq [[op arg :as step] steps]
    (case op
      "echo" (if (= perform socket-step)
               ((socket-api "-send") target message)
               ((api "send!") target message))
      "sleep" (Thread/sleep (long arg))
      "throw" (throw (RuntimeException. "boom"))
      "send-uncaught" (log-step ctx op (perform ctx target step))
      (caught-step ctx target step))))

(defn- message-steps
  "Steps for the message `m`: by its text, else `*`, else echo."
  [table m]
  (let [table (if (map? table) table {})]
    (or (when (string? m) (get table m))
        (get table "*")
        [["echo"]])))

(defn- opened! [{:keys [opened]} ctx target]
  (deliver opened [ctx target]))

(defn- on-message [ctx phase table]
  (fn [target m]
    (record/log! (:rec ctx) phase [(record/message m)])
    (run-steps (assoc ctx :phase phase :message m) target (message-steps table m))))

(defn- channel-options
  "Options of `as-channel` from a `channel` object."
  [ctx {:strs [init on-open on-ping on-handshake-error on-receive on-close on-close-throws] :as spec}]
  (let [ctx (assoc ctx :perform channel-step)
        rec (:rec ctx)
        in (fn [phase] (assoc ctx :phase phase))]
    (cond-> {}
      init (assoc :init (fn [ch] (run-steps (in "init") ch init)))
      (not (false? on-open))
      (assoc :on-open (fn [ch]
                        (opened! ctx ctx ch)
                        (record/log! rec "on-open" ["called"])
                        (run-steps (in "on-open") ch on-open)))
      (not (false? on-receive)) (assoc :on-receive (on-message ctx "on-receive" on-receive))
      (contains? spec "on-ping")
      (assoc :on-ping (fn [ch data]
                        (record/log! rec "on-ping" [(record/message data)])
                        (run-steps (in "on-ping") ch on-ping)))
      (not (false? on-close))
      (assoc :on-close (fn [_ status]
                         (record/log! rec "on-close" [(str status)])
                         (when on-close-throws (throw (RuntimeException. "boom")))))
      on-handshake-error
      (assoc :on-handshake-error
             (fn [ch]
               (record/log! rec "on-handshake-error" ["called"])
               (run-steps (in "on-handshake-error") ch on-handshake-error))))))

(defn- channel-handler [ctx {:strs [channel as-http] :as spec}]
  (fn [request]
    (let [result ((api "as-channel") (cond-> request as-http (assoc :websocket? false))
                                     (channel-options ctx channel))]
      (if (contains? spec "but-return")
        (value (get spec "but-return"))
        result))))

(defn- with-channel-handler
  "Through the deprecated macro; expanded here, when the implementation is loaded."
  [ctx {:strs [body on-receive]}]
  (let [ctx (assoc ctx :perform channel-step)
        call (eval '(fn [request f] (org.httpkit.server/with-channel request ch (f ch))))
        run (fn [ch]
              (opened! ctx ctx ch)
              ((api "on-close") ch #(record/log! (:rec ctx) "on-close" [(str %)]))
              (when ((api "websocket?") ch)
                (let [f (on-message ctx "on-receive" on-receive)]
                  ((api "on-receive") ch #(f ch %))))
              (run-steps (assoc ctx :phase "body") ch body))]
    (fn [request] (call request run))))

(defn- listener
  "Ring listener in map form."
  [ctx {:strs [on-open on-message on-ping] :as spec}]
  (let [ctx (assoc ctx :perform socket-step)
        rec (:rec ctx)
        in (fn [phase] (assoc ctx :phase phase))]
    (cond-> {:on-open (fn [socket]
                        (opened! ctx ctx socket)
                        (record/log! rec "on-open" ["called"])
                        (run-steps (in "on-open") socket on-open))
             :on-message (httpkit.golden.handler/on-message ctx "on-message" on-message)
             :on-pong (fn [_ data] (record/log! rec "on-pong" [(record/message data)]))
             :on-close (fn [socket code reason]
                         (record/log! rec "on-close" [code reason ((socket-api "-open?") socket)]))
             :on-error (fn [_ t] (record/log! rec "on-error" [(record/class-name t)]))}
      (contains? spec "on-ping")
      (assoc :on-ping (fn [socket data]
                        (record/log! rec "on-ping" [(record/message data)])
                        (run-steps (in "on-ping") socket on-ping))))))

(defn- listener-response [ctx {:strs [protocol extra] :as spec}]
  (cond-> (merge {:ring.websocket/listener (listener ctx (get spec "listener"))}
                 (when extra (value extra)))
    protocol (assoc :ring.websocket/protocol protocol)))

(defn- throwable
  "Exception of `{\"class\" \"message\"}`; class `string` is a String, for raise."
  [{:strs [class message]}]
  (if (= class "string")
    message
    (let [class-name (cond (nil? class) "java.lang.RuntimeException"
                           (some #{\.} class) class
                           :else (str "java.lang." class))]
      (Reflector/invokeConstructor (Class/forName class-name) (object-array [message])))))

(defn- in-a-while [f]
  (doto (Thread. ^Runnable (fn [] (Thread/sleep 100) (f)) "golden-later")
    (.setDaemon true)
    .start))

(defn- async-handler [{:keys [rec] :as ctx} steps]
  (fn
    ([request]
     (record/request! rec request)
     {:status 200 :headers {"Content-Type" "text/plain"} :body "sync arity"})
    ([request respond raise]
     (record/request! rec request)
     (doseq [[op v] steps]
       (case op
         "respond" (record/log! rec "async" [op (loggable (respond (value v)))])
         "raise" (record/log! rec "async" [op (loggable (raise (throwable v)))])
         "throw" (throw (throwable v))
         "respond-later" (in-a-while #(respond (value v)))
         "respond-listener" (record/log! rec "async"
                                         [op (loggable (respond (listener-response ctx {"listener" v})))]))))))

(defn- text-response [body]
  {:status 200 :headers {"Content-Type" "text/plain"} :body body})

(defn- uri-async [request]
  ((api "as-channel") request
                      {:on-open (fn [ch]
                                  (in-a-while #((api "send!") ch (text-response (:uri request)))))}))

(defn- named-handler [n]
  (case n
    "ok" (fn [_] (text-response "ok"))
    "echo-body" (fn [request] {:status 200
                               :headers {"Content-Type" "application/octet-stream"}
                               :body (:body request)})
    "len-of-body" (fn [request]
                    (let [bs (record/request-body (:body request))]
                      (text-response (str (if bs (alength ^bytes bs) -1)))))
    "uri" (fn [request] (text-response (:uri request)))
    "uri-async" uri-async))

(defn- answer
  "One-argument function of the handler object `spec`, not yet recording."
  [ctx spec]
  (cond
    (string? spec) (named-handler spec)
    (contains? spec "return") (fn [_] (value (get spec "return")))
    (contains? spec "throw") (fn [_] (throw (throwable (get spec "throw"))))
    (contains? spec "sleep_ms") (let [then (answer ctx (get spec "then"))]
                                  (fn [request]
                                    (Thread/sleep (long (get spec "sleep_ms")))
                                    (then request)))
    (contains? spec "routes") (let [routes (into {} (map (fn [[k h]] [k (answer ctx h)]))
                                                 (get spec "routes"))]
                                (fn [request]
                                  ((or (get routes (:uri request)) (get routes "*")) request)))
    (contains? spec "channel") (channel-handler ctx spec)
    (contains? spec "with-channel") (with-channel-handler ctx (get spec "with-channel"))
    (contains? spec "listener") (fn [_] (listener-response ctx spec))
    :else (throw (ex-info "unknown handler" {:type ::unknown :handler spec}))))

(defn handler
  "The handler of a case: nil for `null`, `ok` when the case has none. `ctx`:
  `:rec`, the record; `:opened`, a promise for what `run` works on later."
  [{:keys [rec] :as ctx} golden]
  (let [spec (get golden "handler" "ok")]
    (cond
      (nil? spec) nil
      (and (map? spec) (contains? spec "async")) (async-handler ctx (get spec "async"))
      :else (let [f (answer ctx spec)]
              (fn [request]
                (record/request! rec request)
                (f request))))))

(defn run-later
  "Performs `steps` in phase `later`, from a new thread, on the channel that
  reached on-open first; waits for them."
  [{:keys [opened]} steps]
  (let [[ctx target] (deref opened 3000 nil)]
    (when-not ctx
      (throw (ex-info "no channel reached on-open" {:type ::not-opened})))
    @(future (run-steps (assoc ctx :phase "later") target steps))))
