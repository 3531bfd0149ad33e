(ns httpkit.golden.record
  "What the user's side of a server saw, in the data's words: request maps,
  the log of phases, events, errors."
  (:require [clojure.string :as str]
            [httpkit.golden.bytes :as bytes]
            [httpkit.golden.conn :as conn])
  (:import [java.io ByteArrayOutputStream InputStream]
           [java.nio ByteBuffer]))

(set! *warn-on-reflection* true)

(defn recorder
  "An empty record; one per case."
  []
  (atom {:requests [] :log {} :events [] :errors [] :at (System/nanoTime)}))

(defn- touch [r] (assoc r :at (System/nanoTime)))

(defn log!
  "Appends `entry` to the phase named `phase`."
  [rec phase entry]
  (swap! rec #(-> % (update-in [:log phase] (fnil conj []) entry) touch))
  nil)

(defn quiet-ms
  "Milliseconds since anything was recorded."
  [rec]
  (quot (- (System/nanoTime) (long (:at @rec))) 1000000))

(defn drain
  "All bytes of the stream `in`."
  ^bytes [^InputStream in]
  (let [out (ByteArrayOutputStream.) chunk (byte-array 65536)]
    (loop []
      (let [n (.read in chunk)]
        (if (neg? n)
          (.toByteArray out)
          (do (.write out chunk 0 n) (recur)))))))

(defn request-body
  "Bytes of a request body, nil for none. The stream is left at its start."
  ^bytes [^InputStream body]
  (when body
    (let [bs (drain body)]
      (.reset body)
      bs)))

(defn- plain [x]
  (cond
    (keyword? x) (subs (str x) 1)
    (string? x) (bytes/shorten-text x)
    :else x))

(defn- as-if-plain
  "The cases are of plain HTTP: over TLS, scheme and default port differ, and nothing else."
  [outcome]
  (cond-> outcome
    @conn/tls?                                       (update "scheme" {"https" "http"})
    (and @conn/tls? (= 443 (outcome "server-port"))) (assoc "server-port" 80)))

(defn- request-outcome [request]
  (let [keys [:request-method :uri :query-string :server-name :server-port :remote-addr
              :scheme :protocol :content-type :character-encoding :content-length :websocket?]]
    (-> (into {} (map (fn [k] [(name k) (plain (get request k))])) keys)
        (as-if-plain)
        (assoc "headers" (into {} (map (fn [[k v]] [k (plain v)])) (:headers request))
               "body" (some-> (request-body (:body request)) bytes/shorten)))))

(defn request!
  "Records the request map that a handler got."
  [rec request]
  (let [outcome (request-outcome request)]
    (swap! rec #(-> % (update :requests conj outcome) touch))))

(defn class-name [x] (some-> ^Object x .getClass .getName))

(defn message
  "A received message or payload as it stands in the log."
  [m]
  (cond
    (string? m) {"text" (bytes/shorten-text m)}
    (bytes? m) {"binary" (bytes/shorten m)}
    (instance? ByteBuffer m) (let [copy (.duplicate ^ByteBuffer m)
                                   bs (byte-array (.remaining copy))]
                               (.get copy bs)
                               {"bytebuffer" (bytes/shorten bs)})
    :else {"other" (class-name m)}))

(defn- error-entry
  "Frames print differently in each implementation: the data writes `*` for them."
  [msg ex]
  [(some-> msg str (str/replace #"(?s)^(handle websocket frame ).*" "$1*")) (class-name ex)])

(defn loggers
  "Server options that record events and errors. Warnings are not part of outcomes."
  [rec]
  {:event-logger (fn [event] (swap! rec #(-> % (update :events conj event) touch)))
   :error-logger (fn [msg ex] (swap! rec #(-> % (update :errors conj (error-entry msg ex)) touch)))
   :warn-logger (fn [_ _] nil)})

(defn outcome
  "The record as the keys of an outcome."
  [rec]
  (let [{:keys [requests log events errors]} @rec]
    {"requests" requests "request-count" (count requests)
     "log" log "events" events "errors" errors}))
