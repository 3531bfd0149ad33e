(ns ^:no-doc org.httpkit.stats.metrics
  "What there is to know of a server or client, under the names that monitoring systems get. Not API: use
  `org.httpkit.stats`."
  (:require
   [org.httpkit.client :as client]
   [org.httpkit.options :as options]
   [org.httpkit.server.statistics :as statistics])
  (:import
   [org.httpkit.client HttpClient]
   [org.httpkit.jni Abi]
   [org.httpkit.server HttpServer]))

(set! *warn-on-reflection* true)

;; A metric: {:name _ :help _ :type :gauge, :counter or :histogram, :samples [[{label value} number] ...]}; names and
;; labels are those of OpenTelemetry where it has one, spelled as Prometheus spells them.

(defn- metric [type name help & samples]
  {:type type :name name :help help :samples (partition 2 samples)})

(def ^:private bounds
  "Of OpenTelemetry's histogram of durations, in seconds."
  [0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10])

(defn- duration
  "The histogram: how many took at most each bound, how many there are, and their sum."
  [^longs numbers]
  (let [counts (statistics/histogram numbers Abi/SERVER_STAT_WHOLE)
        below  (fn [bound]
                 (reduce + (keep-indexed (fn [i n] (when (<= (statistics/bucket-end i) (* 1e6 (double bound))) n))
                                         counts)))]
    {:type    :histogram
     :name    "http_server_request_duration_seconds"
     :help    "From the end of a request's head to the end of its response, streams left out."
     :buckets (map (juxt identity below) bounds)
     :count   (reduce + counts)
     :sum     (/ (aget numbers Abi/SERVER_STAT_MICROS) 1e6)}))

(defn- server-metrics [^HttpServer server]
  (let [numbers (.now (.statistics server))
        {:keys [connections requests bytes timeouts queue tls access-log]} (statistics/counts server numbers)]
    [(metric :gauge "http_server_active_requests" "Requests without a complete response."
       {} (:active requests))
     (metric :gauge "http_server_connections" "Open connections."
       {:state "active"} (:active requests)
       {:state "idle"} (:idle connections)
       {:state "websocket"} (:websockets connections))
     (metric :counter "http_server_connections_accepted_total" "Connections accepted."
       {} (:accepted connections))
     (metric :counter "http_server_connections_refused_total" "Connections closed because of :max-connections-per-ip."
       {} (:refused connections))
     (metric :counter "http_server_tls_handshakes_total" "TLS handshakes."
       {:outcome "full"} (- (long (:handshakes tls)) (long (:resumed tls)))
       {:outcome "resumed"} (:resumed tls)
       {:outcome "failed"} (:failed tls))
     (metric :counter "http_server_access_log_lost_total" "Entries that the access log had no time for, or could not write."
       {} (:lost access-log))
     (metric :counter "http_server_requests_total" "Requests received."
       {} (:total requests))
     (apply metric :counter "http_server_responses_total" "Responses begun, by the class of their status."
       (mapcat (fn [digit] [{:status (str digit "xx")} (get (:by-status requests) digit 0)]) (range 1 6)))
     (metric :counter "http_server_requests_rejected_total" "Requests that got 503 because the queue was full."
       {} (:rejected requests))
     (apply metric :counter "http_server_timeouts_total" "Requests and connections ended by a time limit."
       (mapcat (fn [[limit n]] [{:limit (name limit)} n]) timeouts))
     (metric :counter "http_server_io_bytes_total" "Bytes read from and accepted by sockets."
       {:direction "receive"} (:in bytes)
       {:direction "transmit"} (:out bytes))
     (metric :gauge "http_server_pending_bytes" "Bytes queued for peers."
       {} (:pending bytes))
     (metric :gauge "http_server_buffered_bytes" "Bytes of requests that are still arriving."
       {} (:buffered bytes))
     (metric :gauge "http_server_held_bytes" "Native memory that holds parts of requests and responses."
       {} (:held bytes))
     (metric :gauge "http_kit_native_bytes" "Memory of the native library, for all servers and clients."
       {} (:native bytes))
     (metric :gauge "http_server_queue_length" "Requests and events that wait for a thread."
       {} (:waiting queue))
     (metric :gauge "http_server_queue_oldest_seconds" "How long the oldest of them has waited."
       {} (/ (long (:oldest-ms queue)) 1e3))
     (metric :gauge "http_server_threads" "Threads that take work."
       {:kind "platform"} (:threads queue)
       {:kind "virtual"} (:virtual queue))
     (duration numbers)]))

(defn- client-metrics [source]
  (let [{:keys [connections idle connecting active queued opened requests reused retried buffered-bytes]}
        (client/client-stats source)]
    [(metric :gauge "http_client_active_requests" "Requests that have a connection, or for which one is made."
       {} active)
     (metric :gauge "http_client_queued_requests" "Requests that wait for a connection."
       {} queued)
     (metric :gauge "http_client_open_connections" "Open connections."
       {:state "active"} (- (long connections) (long idle) (long connecting))
       {:state "connecting"} connecting
       {:state "idle"} idle)
     (metric :counter "http_client_connections_opened_total" "Connections made."
       {} opened)
     (metric :counter "http_client_requests_total" "Requests made."
       {} requests)
     (metric :counter "http_client_requests_reused_total" "Times that a request was given a kept-alive connection."
       {} reused)
     (metric :counter "http_client_requests_retried_total" "Kept-alive connections that turned out to be dead."
       {} retried)
     (metric :gauge "http_client_buffered_bytes" "Native memory that holds parts of responses."
       {} buffered-bytes)]))

(defn class-of [x]
  (if (nil? x) "nil" (.getName (class x))))

(defn of
  "The metrics of `source`, or IllegalArgumentException if it is none."
  [source]
  (let [source (force source)]
    (cond
      (instance? HttpServer source) (server-metrics source)
      (instance? HttpClient source) (client-metrics source)
      (fn? source) (options/refuse! "no source of statistics: a function; expected an HttpServer,"
                     " which is (:server (meta it)) of what run-server returns, or an HttpClient")
      :else (options/refuse! "no source of statistics: " (class-of source)
              "; expected an HttpServer or an HttpClient"))))
