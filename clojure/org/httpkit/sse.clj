(ns org.httpkit.sse
  "Server-sent events (`text/event-stream`), for servers and clients.

  Respond with a stream; `stream`
  Send             ; `send!`, `broadcast!`
  Resume           ; `last-event-id`
  End              ; `close`
  Receive          ; `connect`, `events`

    (defn events [req]
      (sse/stream req {:on-open   (fn [s] (swap! streams conj s))
                       :on-close  (fn [s status] (swap! streams disj s))
                       :heartbeat 15000}))

    (sse/broadcast! @streams {:event \"price\" :id \"42\" :data \"12.50\"})"
  (:require
   [clojure.string :as str]
   [org.httpkit.client :as client]
   [org.httpkit.client.checks :as checks]
   [org.httpkit.client.redirects :as redirects]
   [org.httpkit.headers :as headers]
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.server :as server])
  (:import
   [clojure.lang IDeref IReduceInit]
   [java.io Closeable IOException InputStream]
   [java.net URLDecoder]
   [java.nio ByteBuffer]
   [java.nio.charset CharacterCodingException StandardCharsets]
   [java.util.concurrent CountDownLatch ThreadLocalRandom TimeUnit]
   [org.httpkit.client EventParser]
   [org.httpkit.logger ContextLogger]
   [org.httpkit.server AsyncChannel]))

(set! *warn-on-reflection* true)

;;;; Events as text

(defn- check-event! [event]
  (when-not (and (map? event) (seq event))
    (options/refuse! "event " (options/shown event) ": expected a map with some of "
      (str/join ", " (sort (keys tables/event)))))
  (options/check-all "an event" tables/event event))

(defn- field! [^StringBuilder out ^String field value]
  (-> out (.append field) (.append ": ") (.append (str value)) (.append \newline)))

(defn- lines!
  "A field per line of `text`; CR, LF and CRLF end a line, as for the reader."
  [out field text]
  (run! #(field! out field %) (str/split text #"\r\n|\r|\n" -1)))

(defn- encode
  "The bytes of an event map. Throws IllegalArgumentException if it is none."
  ^bytes [{:keys [event id data retry comment] :as fields}]
  (check-event! fields)
  (let [out (StringBuilder.)]
    (when comment      (lines! out "" comment))
    (when event        (field! out "event" event))
    (when (some? id)   (field! out "id" id))
    (when retry        (field! out "retry" retry))
    (when data         (lines! out "data" data))
    (.append out \newline)
    (.getBytes (str out) "UTF-8")))

;;;; Streams

(defn send!
  "Sends an event on stream `s`. Returns true if it was accepted (not necessarily
  delivered), false if the stream is closed, or full under `:on-overflow :reject`.

    (send! s {:event \"price\" :id \"42\" :data \"line one\\nline two\"})

  The event is a map with some of
    :data    ; String; a line break of any kind separates `data` fields
    :event   ; String, the event's name for `addEventListener` (default \"message\")
    :id      ; String or integer; a browser that reconnects says the last one it has
             ; received, see `last-event-id`
    :retry   ; msecs that a browser waits before it reconnects
    :comment ; String that browsers ignore

  Throws IllegalArgumentException, and sends nothing, for other keys and values,
  and for a line break or NUL in `:event` or `:id`, which would forge fields."
  [s event]
  (let [bytes (encode event)]
    (.send (options/the-channel "sse/send! of" s "a stream, which sse/stream passes to its callbacks")
           bytes false)))

(defn broadcast!
  "Sends one event, as `send!` does, on each of `streams`, any collection of them; it
  is encoded once. Returns the number of streams that accepted it.

  If sending on one throws (such as its `:on-close` callback after an overflow), the
  others still get the event, and then the exception is thrown.

    (broadcast! @streams {:event \"price\" :data \"12.50\"})"
  [streams event]
  (server/broadcast! streams (encode event)))

(defn close
  "Ends stream `s`; a browser then reconnects, unless it gets a 204. Returns true for the
  call that closed it.

    (close s) ; => true"
  [s]
  (server/close s))

(defn- parameter
  "The first value of a parameter in a query string, decoded."
  [^String query wanted]
  (when query
    (some (fn [pair]
            (let [[k v] (str/split pair #"=" 2)]
              (when (= k wanted)
                (try (URLDecoder/decode (str v) "UTF-8")
                     (catch IllegalArgumentException _ (str v))))))
      (str/split query #"&"))))

(defn- from-utf-8
  "A header's value, whose bytes came as ISO-8859-1, as UTF-8 if that is what they are."
  [^String value]
  (if (.canEncode (.newEncoder StandardCharsets/ISO_8859_1) value)
    (try (str (.decode (.newDecoder StandardCharsets/UTF_8)
                (ByteBuffer/wrap (.getBytes value StandardCharsets/ISO_8859_1))))
         (catch CharacterCodingException _ value))
    value))

(defn last-event-id
  "Returns the id of the last event that the client has received, or nil: that of
  the `Last-Event-ID` header, which browsers send when they reconnect, in UTF-8, else
  of the query parameter `lastEventId`. An empty one is none.

    (doseq [event (events-since (last-event-id req))]
      (send! s event))"
  [req]
  (or (some-> (get-in req [:headers "last-event-id"]) not-empty from-utf-8)
      (not-empty (parameter (:query-string req) "lastEventId"))))

(def ^:private head
  {:status  200
   :headers {"Content-Type"      "text/event-stream; charset=utf-8"
             "Cache-Control"     "no-cache, no-transform"
             ;; nginx would collect events until its buffer is full.
             "X-Accel-Buffering" "no"}})

(defn- begin! [ch {:keys [retry heartbeat on-open] :as opts}]
  (let [ch       (options/the-channel "sse/stream on" ch "the :async-channel of a request that run-server received")
        head     (cond-> head
                   ;; It would keep us from compressing, too.
                   (.compressesEvents ch) (assoc-in [:headers "Cache-Control"] "no-cache"))
        response (cond-> (update head :headers #(reduce-kv headers/with % (:headers opts)))
                   retry (assoc :body (encode {:retry retry})))]
    ;; A response to HEAD ends with its head.
    (when (and (server/send! ch response false) (server/open? ch))
      (when (and heartbeat (pos? (long heartbeat)))
        (.heartbeat ch (int (options/to-int heartbeat))))
      (when on-open (on-open ch)))))

(def ^:private not-a-websocket
  {:status  400
   :headers {"Content-Type" "text/plain"}
   :body    "This is a stream of server-sent events, not a WebSocket"})

(defn stream
  "Responds to a Ring request with a stream of events. Returns the response for the
  handler to return. The head is sent immediately, before the first event.

  Options, none of them required:
    :on-open   ; (fn [s]), once the stream accepts events. `s` is a channel as in
               ; `org.httpkit.server`, so `open?` and `pending-bytes` work on it
    :on-close  ; (fn [s status]), see `org.httpkit.server/on-close`
    :heartbeat ; msecs without an event after which a comment is sent, so that
               ; proxies keep the connection, and a peer that vanished is noticed;
               ; costs no thread. nil or 0 for none              (default none)
    :retry     ; msecs that a browser waits before it reconnects  (default the browser's)
    :headers   ; map of further headers of the response; nil removes one of those below
    :max-pending-bytes, :on-overflow, :on-drain, :compression ; as for `as-channel`

  The head has `Content-Type: text/event-stream; charset=utf-8`,
  `Cache-Control: no-cache, no-transform` (`no-cache` if the stream is compressed) and
  `X-Accel-Buffering: no`. HEAD gets only that; a WebSocket handshake gets 400.
  Throws IllegalArgumentException for invalid options.

    (stream req {:heartbeat 15000
                 :on-open   (fn [s] (send! s {:data \"hello\"}))})"
  {:arglists '([req {:keys [on-open on-close heartbeat retry headers max-pending-bytes on-overflow
                            on-drain compression] :as opts}])}
  [req opts]
  (let [opts (options/as-map "sse/stream" opts)]
    (options/check-all "sse/stream" tables/event-stream opts)
    (if (:websocket? req)
      not-a-websocket
      (server/as-channel req
        (-> (select-keys opts [:on-close :max-pending-bytes :on-overflow :on-drain :compression])
            (assoc :on-open #(begin! % opts)))))))

;;;; Receiving

(def ^:private default-max-event-bytes (* 8 1024 1024))

(defn- check-max-event-bytes! [n]
  (when-not (or (nil? n) (and (int? n) (<= 1 n Integer/MAX_VALUE)))
    (options/refuse! ":max-event-bytes " (options/shown n) ": expected an integer from 1 to " Integer/MAX_VALUE)))

(defn- parser
  "`last-id` is that of an earlier connection, or nil."
  ^EventParser [^InputStream in max-event-bytes last-id]
  (EventParser. in (int (or max-event-bytes default-max-event-bytes)) (or last-id "")))

(defn- current
  "The event that a parser has read."
  [^EventParser parser]
  (cond-> {:event (.event parser) :data (.data parser) :id (.lastId parser)}
    (<= 0 (.retry parser)) (assoc :retry (.retry parser))))

(defn- stream-of
  "The InputStream of what `events` was given."
  [response]
  (let [{:keys [body error]} (if (map? response) response {:body response})]
    (when error
      (throw (IllegalArgumentException. (str "sse/events of a response with an :error: " error) error)))
    (when-not (instance? InputStream body)
      (options/refuse! "sse/events of " (if (nil? body) "nil" (str "a body of class " (.getName (class body))))
        ": expected an InputStream, see :as :stream"
        (when (instance? IDeref body) "; deref the request first")))
    body))

(defn events
  "The events of a response, whose body is an InputStream (`:as :stream`), or of an
  InputStream: something to `reduce`, once, while they arrive, and to close.

    (with-open [events (sse/events @(http/get url {:as :stream}))]
      (reduce (fn [n {:keys [data]}] (println data) (inc n)) 0 events))

  An event is a map; `:retry` is a number, the others are Strings
    :event ; its name (default \"message\")
    :data  ; the lines joined with \\newline
    :id    ; the last id so far, \"\" without one
    :retry ; the last delay before reconnecting so far, msecs; absent without one

  Reading blocks. `reduce` throws IOException if the stream fails, or an event is
  longer than `max-event-bytes` (default 8 MiB); a `reduced` ends it and keeps the
  stream open. Throws IllegalArgumentException if there is no InputStream; of a
  response with an `:error`, that is its cause."
  (^Closeable [response] (events response nil))
  (^Closeable [response max-event-bytes]
   (let [in (stream-of response)]
     (check-max-event-bytes! max-event-bytes)
     (let [parser (parser in max-event-bytes nil)]
       (reify
         IReduceInit
         (reduce [_ f init]
           (loop [result init]
             (cond
               (reduced? result) @result
               (.next parser)    (recur (f result (current parser)))
               :else             result)))
         Closeable
         (close [_] (.close parser)))))))

(def ^:private default-retry 3000)
(def ^:private max-delay 30000)

(def ^:private min-delay 100)
(def ^:private min-delay-after-failure 1000)

(defn- delay-before
  "Msecs before the next attempt, after `failures` in a row: doubled for each but the first, with a quarter of
  chance, so that not all clients of a restarted server come at once. A server's `retry` of 0 must not make a loop
  without pause."
  ^long [retry ^long failures]
  (let [base    (max (long retry) (long (if (pos? failures) min-delay-after-failure min-delay)))
        longest (max (long max-delay) base)
        doubled (min longest (* base (bit-shift-left 1 (min 20 (max 0 (dec failures))))))]
    (long (* doubled (+ 0.75 (* 0.5 (.nextDouble (ThreadLocalRandom/current))))))))

(defn- sendable?
  "An id that cannot be sent in a header is as none: otherwise no request would leave any more."
  [id]
  (and (seq id) (not (re-find #"[\x00-\x08\x0a-\x1f\x7f]" id))))

(defn- request
  "`given?`: `last-id` comes from the stream, else it is the caller's, in `opts`."
  [url opts {:keys [last-id given?]}]
  (-> opts
      ;; The last two are for the one result of a request.
      (dissoc :reconnect? :max-event-bytes :response :deadlock-guard?)
      (assoc :url url :as :stream
             :headers (cond-> (:headers opts)
                        given? (headers/without #{"last-event-id"})
                        (not (headers/has? (:headers opts) "accept")) (headers/with "accept" "text/event-stream")
                        (and given? (sendable? last-id)) (headers/with "last-event-id" last-id)))))

(defn- stream-of-events? [{:keys [status headers]}]
  (and (= 200 status)
       (re-find #"(?i)^\s*text/event-stream\s*(;|$)" (str (:content-type headers)))))

(defn- safely
  "Calls a callback; what it throws goes to `on-error`."
  [on-error f & args]
  (when f
    (try (apply f args)
         (catch Throwable t (on-error t)))))

(defn- receive!
  "Passes on the events of one response until it ends or fails. Returns the parser's last id and retry."
  [{:keys [current-parser closed? on-error callbacks opts]} {:keys [body] :as response} {:keys [last-id] :as state}]
  (with-open [parser (parser body (:max-event-bytes opts) last-id)]
    (reset! current-parser parser)
    (safely on-error (:on-open callbacks) response)
    (let [whole? (try
                   (while (and (not @closed?) (.next parser))
                     (safely on-error (:on-event callbacks) (current parser)))
                   true
                   (catch Throwable t
                     (when-not @closed? (on-error t))
                     false))]
      (cond-> (assoc state :failures 0 :whole? whole?)
        (not= (or last-id "") (.lastId parser)) (assoc :last-id (.lastId parser) :given? true)
        (<= 0 (.retry parser)) (assoc :retry (.retry parser))))))

(defn- attempt!
  "One request. Returns the state for the next one, or nil if there is to be none."
  [{:keys [url opts on-error current-call closed?] :as source} state]
  (let [call (client/request (request url opts state))
        _    (reset! current-call call)
        {:keys [error status] :as response} (if @closed? (do (future-cancel call) nil) @call)]
    (cond
      @closed?                     (some-> ^Closeable (:body response) (.close))
      error                        (do (on-error error) (-> state (update :failures inc) (assoc :whole? false)))
      (stream-of-events? response) (receive! source response state)
      :else
      (do (some-> ^Closeable (:body response) (.close))
          (when-not (= 204 status)
            (on-error (ex-info (str (checks/description opts url) ": status " status " with type "
                                 (pr-str (:content-type (:headers response)))
                                 ": expected 200 with text/event-stream")
                        {:type ::no-stream :response (dissoc response :body :opts)})))
          nil))))

(defn- run-source [{:keys [opts closed? ^CountDownLatch latch on-error callbacks] :as source}]
  (try
    (checks/check-headers! opts)
    (loop [state {:failures 0 :retry default-retry :last-id (headers/value-of (:headers opts) "last-event-id")}]
      (when-let [{:keys [retry failures whole?] :as state} (attempt! source state)]
        (when (and (:reconnect? opts) (not @closed?))
          (if (redirects/one-shot-body? opts)
            (when whole?
              (on-error (IOException. "Cannot replay one-shot request body to reconnect")))
            (when-not (.await latch (delay-before retry failures) TimeUnit/MILLISECONDS)
              (recur state))))))
    (catch Throwable t (on-error t))
    (finally
      (reset! closed? true)
      (safely on-error (:on-close callbacks)))))

(defn- with-bound-client
  "`opts` with the client that is bound here: the requests are made on another thread."
  [{:keys [client insecure?] :as opts}]
  (if (and (nil? client) (not insecure?) (thread-bound? #'client/*default-client*))
    (assoc opts :client client/*default-client*)
    opts))

(defn- logged
  "`on-error`, or a line on standard error; never throws."
  [on-error]
  (fn [t]
    (try (if on-error
           (on-error t)
           (.log ContextLogger/ERROR_PRINTER "server-sent events" t))
         (catch Throwable t
           (.log ContextLogger/ERROR_PRINTER "the :on-error callback of server-sent events" t)))))

(defn connect
  "Requests a stream of events, and calls `:on-event` for each, one at a time, on a
  thread of its own. Returns a Closeable immediately.

    (with-open [_ (sse/connect \"http://localhost:8080/prices\" {:reconnect? true}
                    {:on-event (fn [{:keys [event data id]}] (println event data))})]
      ...)

  `opts` are those of `org.httpkit.client/request`, such as `:method`, `:headers` and
  `:body` (`:as`, `:response` and `:deadlock-guard?` have no effect), and
    :reconnect?      ; Request again when the stream ends or fails, as browsers do:
                     ; after the `retry` that the server gave (default 3000 msecs),
                     ; doubled up to 30 s for each failure in a row, with Last-Event-ID;
                     ; until a 204, another status or type, or `close` (default false).
                     ; Not with a body or part that can be read only once, an InputStream
                     ; or ByteBuffer: the first end or failure is then the last
    :max-event-bytes ; of one event                                     (default 8 MiB)
  A stream that is silent for `:idle-timeout` (default 60000 msecs) fails; heartbeats
  prevent that. The server is read no faster than the callbacks return.

  Callbacks, all optional:
    :on-open  ; (fn [response]), for each connection, when the first byte behind its
              ; head has arrived
    :on-event ; (fn [event]), see `events`
    :on-error ; (fn [throwable]), for each failure, also of the other callbacks
              ; (default prints); ExceptionInfo of :type :org.httpkit.sse/no-stream
              ; for a response that is no stream, with :response in its data,
              ; which lacks :body and :opts
    :on-close ; (fn []), once, when there will be no more events

  Throws IllegalArgumentException for options that are no map, for callbacks that are no
  functions, and other names."
  {:arglists '([url {:keys [reconnect? max-event-bytes] :as opts}
                {:keys [on-open on-event on-error on-close] :as callbacks}])}
  ^Closeable [url opts callbacks]
  (when-not (string? url)
    (options/refuse! "sse/connect to " (options/shown-alone url) ": expected a URL, as a String"))
  (when-not (or (nil? callbacks) (map? callbacks))
    (options/refuse! "the callbacks " (options/shown callbacks) " of sse/connect: expected a map"))
  (options/check-all "the callbacks of sse/connect" tables/event-callbacks callbacks)
  (let [opts   (options/as-map "sse/connect" opts)
        _      (check-max-event-bytes! (:max-event-bytes opts))
        _      (checks/warn-of-source-slips! opts)
        [closed? current-call current-parser] (repeatedly #(atom nil))
        latch  (CountDownLatch. 1)
        source {:url            url
                :opts           (with-bound-client opts)
                :callbacks      callbacks
                :on-error       (logged (:on-error callbacks))
                :closed?        closed?
                :latch          latch
                :current-call   current-call
                :current-parser current-parser}]
    (doto (Thread. ^Runnable #(run-source source) "http-kit-sse")
      (.setDaemon true)
      (.start))
    (reify Closeable
      (close [_]
        (reset! closed? true)
        (.countDown latch)
        (some-> @current-call future-cancel)
        (some-> ^Closeable @current-parser (.close))))))
