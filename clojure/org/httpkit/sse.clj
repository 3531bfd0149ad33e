(ns org.httpkit.sse
  "Server-sent events (`text/event-stream`): the server's side.

  Respond with a stream; `stream`
  Send             ; `send!`, `broadcast!`
  Resume           ; `last-event-id`
  End              ; `close`

    (defn events [req]
      (sse/stream req {:on-open   (fn [s] (swap! streams conj s))
                       :on-close  (fn [s status] (swap! streams disj s))
                       :heartbeat 15000}))

    (sse/broadcast! @streams {:event \"price\" :id \"42\" :data \"12.50\"})"
  (:require
   [clojure.string :as str]
   [org.httpkit.headers :as headers]
   [org.httpkit.options :as options]
   [org.httpkit.server :as server])
  (:import
   [java.net URLDecoder]
   [org.httpkit.server AsyncChannel]))

(set! *warn-on-reflection* true)

;;;; Events as text

(defn- check-event! [event]
  (when-not (and (map? event) (seq event))
    (throw (IllegalArgumentException.
             (str "event " (pr-str event) ": expected a map with some of "
               (str/join ", " (sort (keys options/event)))))))
  (options/check options/event event
    (fn [k] (throw (IllegalArgumentException.
                     ^String (options/unknown-name "an event" options/event k))))))

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
  [^AsyncChannel s event]
  (.send s (encode event) false))

(defn broadcast!
  "Sends one event, as `send!` does, on each of `streams`, any collection of them; it
  is encoded once. Returns the number of streams that accepted it.

  If sending on one throws, as when an `:on-close` callback does that runs because
  of an overflow, the others get the event all the same, and then it is thrown."
  [streams event]
  (let [bytes  (encode event)
        failed (volatile! nil)
        sent?  (fn [^AsyncChannel s]
                 (try (.send s bytes false)
                      (catch Throwable t (vreset! failed t) false)))
        n      (reduce (fn [n s] (if (sent? s) (inc (long n)) n)) 0 streams)]
    (when-let [t @failed]
      (throw ^Throwable t))
    n))

(defn close
  "Ends stream `s`; a browser then reconnects, unless it gets a 204. Returns true for the
  call that closed it."
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

(defn last-event-id
  "Returns the id of the last event that the client has received, or nil: that of
  the `Last-Event-ID` header, which browsers send when they reconnect, else of the
  query parameter `lastEventId`."
  [req]
  (or (get-in req [:headers "last-event-id"])
      (parameter (:query-string req) "lastEventId")))

(def ^:private head
  {:status  200
   :headers {"Content-Type"      "text/event-stream; charset=utf-8"
             "Cache-Control"     "no-cache, no-transform"
             ;; nginx would collect events until its buffer is full.
             "X-Accel-Buffering" "no"}})

(defn- begin! [^AsyncChannel ch {:keys [retry heartbeat on-open] :as opts}]
  (let [head     (cond-> head
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
  Throws IllegalArgumentException for invalid options."
  {:arglists '([req {:keys [on-open on-close heartbeat retry headers max-pending-bytes on-overflow
                            on-drain compression] :as opts}])}
  [req opts]
  (let [opts (options/as-map "sse/stream" opts)]
    (options/check options/event-stream opts
      (fn [k] (throw (IllegalArgumentException.
                       ^String (options/unknown-name "sse/stream" options/event-stream k)))))
    (if (:websocket? req)
      not-a-websocket
      (server/as-channel req
        (-> (select-keys opts [:on-close :max-pending-bytes :on-overflow :on-drain :compression])
            (assoc :on-open #(begin! % opts)))))))
