(ns ^:no-doc org.httpkit.server.statistics
  "Turns a server's numbers into maps. Not API."
  (:import
   [org.httpkit.jni Abi Native]
   [org.httpkit.server HttpServer]))

(set! *warn-on-reflection* true)

;;;; Histograms

(def ^:private steps "Buckets per doubling; as in `rust/core/src/server/tally.rs`." 4)

(defn bucket-end
  "The first microsecond that is beyond bucket `i`."
  ^long [^long i]
  (let [doublings (max 0 (dec (quot i (long steps))))]
    (bit-shift-left (inc (- i (* doublings (long steps)))) doublings)))

(defn histogram
  "The counts of a histogram that begins at `place`."
  [^longs numbers place]
  (mapv #(aget numbers (+ (long place) (long %))) (range Abi/STAT_BUCKETS)))

(defn- quantile
  "The end of the bucket that holds this part of all, or 0 if there are none."
  [counts part]
  (let [total (long (reduce + counts))]
    (if (zero? total)
      0
      (loop [i 0, left (long (Math/ceil (* (double part) total)))]
        (let [left (- left (long (counts i)))]
          (if (pos? left) (recur (inc i) left) (bucket-end i)))))))

(defn- quantiles [numbers before place]
  (let [counts (mapv - (histogram numbers place) (histogram before place))]
    {:p50 (quantile counts 0.5)
     :p90 (quantile counts 0.9)
     :p99 (quantile counts 0.99)
     :max (quantile counts 1)}))

;;;; Maps

(defn by-status
  "{first digit, count} of responses."
  [^longs numbers]
  (into {}
        (for [digit (range 1 6)
              :let  [n (aget numbers (+ Abi/SERVER_STAT_STATUSES (dec (long digit))))]
              :when (pos? n)]
          [digit n])))

(defn counts
  "All but the latencies of `server`, from its `numbers`."
  [^HttpServer server ^longs numbers]
  (let [open       (aget numbers Abi/SERVER_STAT_OPEN)
        websockets (aget numbers Abi/SERVER_STAT_WEBSOCKETS)
        active     (aget numbers Abi/SERVER_STAT_ACTIVE)]
    {:connections {:open       open
                   :idle       (- open websockets active)
                   :accepted   (aget numbers Abi/SERVER_STAT_ACCEPTED)
                   :refused    (aget numbers Abi/SERVER_STAT_REFUSED)
                   :websockets websockets
                   :tls        (aget numbers Abi/SERVER_STAT_TLS)}
     :requests    {:total     (aget numbers Abi/SERVER_STAT_REQUESTS)
                   :active    active
                   :rejected  (aget numbers Abi/SERVER_STAT_REJECTED)
                   :by-status (by-status numbers)}
     :bytes       {:in       (aget numbers Abi/SERVER_STAT_RECEIVED)
                   :out      (aget numbers Abi/SERVER_STAT_WRITTEN)
                   :pending  (aget numbers Abi/SERVER_STAT_PENDING)
                   :buffered (aget numbers Abi/SERVER_STAT_BUFFERED)
                   :held     (aget numbers Abi/SERVER_STAT_HELD)
                   :native   (aget numbers Abi/SERVER_STAT_NATIVE)}
     :timeouts    (let [ended #(aget numbers (+ Abi/SERVER_STAT_TIMEOUTS (long %)))]
                    {:header  (ended Abi/TIMEOUT_HEADER)
                     :idle    (ended Abi/TIMEOUT_IDLE)
                     :body    (ended Abi/TIMEOUT_BODY)
                     :write   (ended Abi/TIMEOUT_WRITE)
                     :handler (ended Abi/TIMEOUT_HANDLER)
                     :ws      (ended Abi/TIMEOUT_WS)})
     :queue       {:waiting   (aget numbers Abi/SERVER_STAT_WAITING)
                   :oldest-ms (aget numbers Abi/SERVER_STAT_OLDEST)
                   :threads   (aget numbers Abi/SERVER_STAT_THREADS)
                   :virtual   (.virtualThreads (.statistics server))}
     :tls         {:handshakes (aget numbers Abi/SERVER_STAT_HANDSHAKES)
                   :resumed    (aget numbers (+ Abi/SERVER_STAT_HANDSHAKES 1))
                   :failed     (aget numbers (+ Abi/SERVER_STAT_HANDSHAKES 2))}
     :access-log  {:entries (aget numbers Abi/SERVER_STAT_LOGGED)
                   :lost    (aget numbers (inc Abi/SERVER_STAT_LOGGED))}
     :handles     (Native/liveHandles)
     :since       (.since (.statistics server))}))

(defn stats
  "See `org.httpkit.server/server-stats`."
  [^HttpServer server]
  (let [[numbers before] (.sinceLastCall (.statistics server))]
    (assoc (counts server numbers)
      :latency-us {:handler (quantiles numbers before Abi/SERVER_STAT_HANDLER)
                   :whole   (quantiles numbers before Abi/SERVER_STAT_WHOLE)})))
