(ns org.httpkit.topics
  "Topics: names to which channels subscribe, for one server or, with a bridge, for many.

  Subscribe  ; `subscribe!`, `unsubscribe!`
  Send       ; `publish!`
  Look       ; `subscribers`, `topics`
  Cluster    ; `bridge`

    (defn room [req]
      (server/as-channel req
        {:on-open    (fn [ch]   (topics/subscribe! ch \"room/1\"))
         :on-receive (fn [ch m] (topics/publish! ch \"room/1\" m {:except ch}))}))

  A topic exists while it has subscribers. Names are compared whole: there are no
  wildcards. A subscription ends with its channel; in its `:on-close` it is still
  there, so that the others can be told. Where a *source* is asked for, it
  is an `HttpServer` (`run-server` with `:legacy-return-value? false`, or `:server` in
  the metadata of the function that it returns), any channel of it, or a bridge."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.server :as server])
  (:import
   [java.io Closeable]
   [java.nio ByteBuffer]
   [java.util Arrays Collection Set UUID]
   [java.util.concurrent ConcurrentHashMap LinkedBlockingQueue RejectedExecutionException
    ThreadFactory ThreadPoolExecutor TimeUnit]
   [java.util.concurrent.locks ReentrantLock]
   [org.httpkit.server AsyncChannel HttpServer Topics Topics$Bridge]))

(set! *warn-on-reflection* true)

;;;; Arguments

(defprotocol ^:private Source
  (^:private local-topics [source] "Its server's `Topics`.")
  (^:private forward! [source topic data]
    "Sends to the other processes, if there are any; returns a function that does, so that
    nothing is delivered here either if `data` cannot be sent there."))

(defn- refuse-source! [x]
  (options/refuse! (options/shown-alone x) ": expected an HttpServer, a channel or a bridge"
    (when (fn? x) "; the server is (:server (meta it))")))

(extend-protocol Source
  HttpServer
  (local-topics [server] (.topics server))
  (forward! [_ _ _] (fn []))

  AsyncChannel
  (local-topics [ch] (Topics/of ch))
  (forward! [_ _ _] (fn []))

  Object
  (local-topics [x] (refuse-source! x))

  nil
  (local-topics [x] (refuse-source! x)))

(defn- check-topic [call topic]
  (when-not (string? topic)
    (options/refuse! call " " (options/shown topic) ": expected the name of a topic, a String")))

;;;; Subscribing and publishing

(defn subscribe!
  "Subscribes channel `ch`, a WebSocket or a stream, to the topic of that name, a
  String. Once is enough: a second time changes nothing. Returns true, or false if the
  channel is closed.

    (subscribe! ch \"room/1\")

  A request's channel that is not responded to yet may subscribe as well: the first
  thing that is published then begins its response, see `server/broadcast!`.

  With a `bridge`, the first subscription of a topic calls its `:subscribe`, and returns
  when that has; what it throws is thrown here, and the channel is not subscribed."
  [ch topic]
  (let [ch (options/the-channel "subscribe! of" ch)]
    (check-topic "subscribe!" topic)
    (.subscribe (Topics/of ch) ch topic)))

(defn unsubscribe!
  "Ends the subscription of channel `ch` to a topic. Returns whether there was one.

    (unsubscribe! ch \"room/1\")"
  [ch topic]
  (let [ch (options/the-channel "unsubscribe! of" ch)]
    (check-topic "unsubscribe!" topic)
    (.unsubscribe (Topics/of ch) ch topic)))

(defn subscribers
  "Returns how many channels of this server are subscribed to a topic.

    (subscribers server \"room/1\")   ; => 12"
  [source topic]
  (check-topic "subscribers" topic)
  (.subscribers ^Topics (local-topics source) topic))

(defn topics
  "Returns a set of names: the topics that a channel is subscribed to or, for a server
  or bridge, all topics that have subscribers here.

    (topics ch)       ; => #{\"room/1\" \"user/7\"}"
  [channel-or-source]
  (set (if (instance? AsyncChannel channel-or-source)
         (Topics/namesOf channel-or-source)
         (.names ^Topics (local-topics channel-or-source)))))

(defn- publish-here! [^Topics topics topic data {:keys [except] :as opts}]
  (let [^Collection members (.members topics topic)]
    (when except
      (.remove members except))
    (server/broadcast! members data (not-empty (dissoc opts :except)))))

(defn publish!
  "Sends `data` to all subscribers of a topic, as `server/broadcast!` does. Returns the number
  of channels of this server that accepted it.

    (publish! server \"room/1\" \"news\")
    (publish! ch     \"room/1\" \"news\" {:except ch})

  On a `bridge`, the subscribers in the other processes get it too; `data` is then a String
  or a byte array.

  Options:
    :except            ; a channel that does not get it
    :close-after-send? ; as for `server/broadcast!`, and not for other processes
    :on-overflow       ; likewise

  What one thread publishes arrives in that order. Throws IllegalArgumentException, and
  sends nothing, for anything that is no source, for unknown options and values, and for data
  that a subscriber cannot be sent."
  ([source topic data] (publish! source topic data nil))
  ([source topic data opts]
   (check-topic "publish! to" topic)
   (let [opts  (options/as-map "publish!" opts)
         local (local-topics source)]
     (options/check-all "publish!" tables/publish opts)
     (let [forward (forward! source topic data)]
       ;; What a callback of one channel here throws does not concern the other processes.
       (try
         (publish-here! local topic data opts)
         (finally (forward)))))))

;;;; Other processes

;; A message between processes: this byte, whether it is text (1) or not (0), the origin, the data.
(def ^:private format-version 1)
(def ^:private header-bytes 18)

(defn- encode
  "What `data` is between processes. Throws IllegalArgumentException if it cannot be sent."
  ^bytes [^UUID origin data]
  (let [text? (string? data)
        body  (cond
                text?         (.getBytes ^String data "UTF-8")
                (bytes? data) data
                :else (options/refuse! "publish! of data " (options/shown data)
                        " on a bridge: expected a String or a byte array"))]
    (-> (ByteBuffer/allocate (+ header-bytes (alength ^bytes body)))
      (.put (byte format-version))
      (.put (byte (if text? 1 0)))
      (.putLong (.getMostSignificantBits origin))
      (.putLong (.getLeastSignificantBits origin))
      (.put ^bytes body)
      (.array))))

(defn- decode
  "[origin data] of what `encode` has made. Throws IllegalArgumentException for anything else."
  [^bytes message]
  (when-not (and (bytes? message) (<= header-bytes (alength message))
                 (= format-version (aget message 0)))
    (options/refuse! (if (bytes? message) (str (alength message) " bytes") (options/shown-alone message))
      ": expected the bytes that :publish of a bridge was given"))
  (let [in   (ByteBuffer/wrap message 2 16)
        body (Arrays/copyOfRange message (int header-bytes) (alength message))]
    [(UUID. (.getLong in) (.getLong in))
     (if (= 1 (aget message 1)) (String. body "UTF-8") body)]))

(defn- receive! [^Topics topics origin topic message]
  (let [[from data] (decode message)]
    (when (not= origin from)
      (try
        (publish-here! topics topic data nil)
        (catch Throwable t
          (.logWarning (.server topics) (str "publish to topic " (pr-str topic)) t))))
    nil))

(defn- cleaner
  "A pool of one daemon thread that ends when there is nothing to do."
  ^ThreadPoolExecutor []
  (doto (ThreadPoolExecutor. 1 1 1 TimeUnit/SECONDS (LinkedBlockingQueue.)
          (reify ThreadFactory
            (newThread [_ task]
              (doto (Thread. task "http-kit-topics")
                (.setDaemon true)))))
    (.allowCoreThreadTimeOut true)))

;; A topic's lock is held while the outside is told of its first subscriber or of its end, so that it is told
;; in the order in which these happen. Topics with the same hash share a lock.
(defn- with-lock [{:keys [locks]} topic f]
  (let [^ReentrantLock lock (nth locks (mod (hash topic) (count locks)))]
    (.lock lock)
    (try (f) (finally (.unlock lock)))))

(defn- closed? [{:keys [^ThreadPoolExecutor cleaner]}]
  (.isShutdown cleaner))

(declare leave-if-empty!)

(defn- enter!
  "Calls `:subscribe` for a topic unless that was done, then `subscribe`."
  [{:keys [topics origin ^ConcurrentHashMap unsubscribes callbacks] :as bridge} topic subscribe]
  (with-lock bridge topic
    (fn []
      (when-not (or (closed? bridge) (.containsKey unsubscribes topic))
        (.put unsubscribes topic
          (options/returned :subscribe tables/function? "function"
            ((:subscribe callbacks) topic (fn [message] (receive! topics origin topic message))))))
      (or (subscribe)
          (do (leave-if-empty! bridge topic) ; The channel has closed meanwhile.
              false)))))

(defn- leave!
  "Undoes `:subscribe` for a topic if `leave?` says so."
  [{:keys [^Topics topics ^ConcurrentHashMap unsubscribes] :as bridge} topic leave?]
  (with-lock bridge topic
    (fn []
      (when (leave?)
        (when-let [unsubscribe (.remove unsubscribes topic)]
          (try
            (unsubscribe)
            (catch Throwable t
              (.logWarning (.server topics) (str "unsubscribe from topic " (pr-str topic)) t))))))))

(defn- leave-all-empty! [{:keys [^Topics topics ^Set ended] :as bridge}]
  (doseq [topic (vec ended)]
    (.remove ended topic)
    (leave! bridge topic #(zero? (.subscribers topics topic)))))

(defn- leave-if-empty!
  "Leaves a topic on the cleaner's thread. Tasks that wait are few, however long one takes: each
  does all that is to do."
  [{:keys [^ThreadPoolExecutor cleaner ^Set ended] :as bridge} topic]
  (.add ended topic)
  (when (.isEmpty (.getQueue cleaner))
    (try
      (.execute cleaner #(leave-all-empty! bridge))
      (catch RejectedExecutionException _)))) ; a bridge that is closed leaves all topics

(defn- close! [{:keys [^ThreadPoolExecutor cleaner ^ConcurrentHashMap unsubscribes ^Topics topics locks] :as bridge}]
  (.shutdown cleaner)
  (run! (fn [^ReentrantLock lock] (.lock lock) (.unlock lock)) locks) ; for what is entering
  (run! #(leave! bridge % (constantly true)) (vec (.keySet unsubscribes)))
  nil)

(defn bridge
  "Connects the topics of a server with those of other processes, through whatever passes
  messages between these (Redis, Postgres, NATS, ...). Returns a bridge: a source for `publish!`
  and the other functions here, and a `java.io.Closeable`.

    (def rooms
      (topics/bridge server
        {:publish   (fn [topic bytes] (.publish redis topic bytes))
         :subscribe (fn [topic on-message]       ; (on-message bytes)
                      (let [subscription (listen! topic on-message)]
                        (fn [] (stop! subscription))))}))

    (topics/publish! rooms \"room/1\" \"news\")     ; To the subscribers in all processes
    (topics/publish! server \"room/1\" \"news\")    ; To those of this one

  Callbacks:
    :publish   ; Sends bytes, on the thread of `publish!` and after the channels of this
               ; process; what it throws reaches the caller
    :subscribe ; Called for the first subscriber of a topic, on the thread of `subscribe!`,
               ; which waits. Calls `on-message` with the bytes of each message, in their order,
               ; and returns a function without arguments, which is called soon after the topic's
               ; last subscription has ended

  Messages arrive at most once: what is published while a process is not connected is
  lost for it. They keep their order per publishing thread and topic if the callbacks do.
  They carry the id of their bridge, so a process ignores its own; `on-message` throws
  IllegalArgumentException for bytes that are no such message. All that can publish to these
  topics can send to the channels: it must be as trustworthy as the process itself.

  `close` undoes all `:subscribe`; the channels' subscriptions stay, and are local.
  Throws IllegalStateException if the server has a bridge."
  ^Closeable [source callbacks]
  (let [callbacks      (merge {:publish nil, :subscribe nil} (options/as-map "bridge" callbacks))
        _              (options/check-all "bridge" tables/bridge callbacks)
        ^Topics topics (local-topics source)
        origin         (UUID/randomUUID)
        state          {:topics       topics
                        :origin       origin
                        :callbacks    callbacks
                        :locks        (vec (repeatedly 64 #(ReentrantLock.)))
                        :unsubscribes (ConcurrentHashMap.)
                        :ended        (ConcurrentHashMap/newKeySet)
                        :cleaner      (cleaner)}
        bridge         (reify
                         Source
                         (local-topics [_] topics)
                         (forward! [_ topic data]
                           (when (closed? state)
                             (throw (IllegalStateException. "publish! on a bridge that is closed")))
                           (let [message (encode origin data)]
                             (fn [] ((:publish callbacks) topic message))))

                         Topics$Bridge
                         (entering [_ topic subscribe]
                           (enter! state topic #(.getAsBoolean subscribe)))
                         (ended [_ topic]
                           (leave-if-empty! state topic))

                         Closeable
                         (close [this]
                           (when (.connect topics this nil)
                             (close! state))))]
    (when-not (.connect topics nil bridge)
      (throw (IllegalStateException. "this server has a bridge; close that first")))
    (try
      (doseq [topic (.names topics)]
        (enter! state topic #(do true))
        (leave-if-empty! state topic))
      bridge
      (catch Throwable t
        (.close ^Closeable bridge)
        (throw t)))))
