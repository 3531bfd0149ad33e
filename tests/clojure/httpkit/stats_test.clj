(ns httpkit.stats-test
  "`server-stats` says what a client has seen, and `org.httpkit.stats` passes it on."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]
            [org.httpkit.server.statistics :as statistics]
            [org.httpkit.stats  :as stats])
  (:import (io.micrometer.core.instrument Meter MeterRegistry Tag)
           (io.micrometer.core.instrument.config MeterFilter)
           (io.micrometer.core.instrument.simple SimpleMeterRegistry)
           (java.io Closeable File)
           (java.lang.management ManagementFactory)
           (java.lang.ref WeakReference)
           (javax.management AttributeNotFoundException ObjectName)
           (java.util.concurrent CountDownLatch Executors)
           (org.httpkit.jni Abi)))

(set! *warn-on-reflection* true)

(defn- settled
  "The statistics once no connection is open. Does not ask for them before: latencies are those since the last call."
  [server]
  (wire/eventually #(re-find #"connections 0," (str server)))
  (server/server-stats server))

(def ^:private good "GET / HTTP/1.1\r\nHost: h\r\n\r\n")

(def ^:private scripts
  "What a client sends on one connection: bytes, how many responses it reads, and the statuses that are counted even
  though it does not read them."
  [[good [200]]
   [(str good good good) [200 200 200]]
   ["GET /404 HTTP/1.1\r\nHost: h\r\n\r\n" [404]]
   ["HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" [200] :head]
   ["GET /throw HTTP/1.1\r\nHost: h\r\n\r\n" [500]]
   ["GET /stream HTTP/1.1\r\nHost: h\r\n\r\n" [200]]
   ["GET /large HTTP/1.1\r\nHost: h\r\n\r\n" [200]]
   ["nonsense\r\n\r\n" [400]]
   ["GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n" [400]]
   [(str "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello") [200]]
   ["GET /half" []]
   ["POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe" []]
   ["" []]])

(defn- handler [{:keys [uri] :as req}]
  (case uri
    "/404"    {:status 404 :body "no"}
    "/throw"  (throw (ex-info "no luck" {}))
    "/large"  {:body (byte-array 300000)}
    "/stream" (server/as-channel req {:on-open (fn [ch]
                                                 (dotimes [_ 3] (server/send! ch "piece" false))
                                                 (server/close ch))})
    {:body "hello"}))

(defn- counting
  "A connection that counts the bytes it reads."
  [conn counter]
  (update conn :in #(proxy [java.io.FilterInputStream] [%]
                      (read
                        ([] (let [b (.read ^java.io.InputStream %)] (when-not (neg? b) (swap! counter inc)) b))
                        ([bytes] (let [n (.read ^java.io.InputStream % ^bytes bytes)] (when (pos? n) (swap! counter + n)) n))
                        ([bytes at len] (let [n (.read ^java.io.InputStream % ^bytes bytes (int at) (int len))]
                                          (when (pos? n) (swap! counter + n)) n)))
                      (readNBytes [len] (let [bytes (.readNBytes ^java.io.InputStream % (int len))]
                                          (swap! counter + (alength ^bytes bytes))
                                          bytes)))))

(defn- run-script
  "Returns {:statuses {first-digit n} :in bytes-sent :out bytes-read}."
  [port [bytes statuses head?]]
  (with-open [^Closeable conn (wire/connect port)]
    (let [read  (atom 0)
          conn  (counting conn read)]
      (wire/send! conn bytes)
      (doseq [status statuses]
        (is (= status (:status (wire/answer conn :head? (some? head?)))) bytes))
      {:by-status (frequencies (map #(quot (long %) 100) statuses)) :in (count bytes) :out @read})))

(deftest counts-are-those-of-a-client-after-thousands-of-requests-with-faults
  (doseq [[about options] {"default" {} "a user's pool" {:worker-pool (delay (Executors/newFixedThreadPool 4))}}]
    (testing about
      (wire/with-server [{:keys [server port]} handler options]
        (let [clients (doall (for [n (range 4)]
                               (future (apply merge-with #(if (map? %1) (merge-with + %1 %2) (+ %1 %2))
                                              (for [_ (range 60), script (shuffle scripts)] (run-script port script))))))
              seen    (apply merge-with #(if (map? %1) (merge-with + %1 %2) (+ %1 %2)) (map deref clients))
              stats   (settled server)]
          (is (= {:open 0 :idle 0 :websockets 0 :tls 0 :accepted (* 4 60 (count scripts)) :refused 0} (:connections stats)))
          ;; One script has a request without a response.
          (is (= {:total (+ (* 4 60) (reduce + (vals (:by-status seen)))) :active 0 :rejected 0 :by-status (:by-status seen)}
                 (:requests stats)))
          (is (= {:in (:in seen) :out (:out seen) :pending 0 :buffered 0 :held 0} (dissoc (:bytes stats) :native)))
          (is (= 0 (get-in stats [:queue :waiting])))
          (is (every? pos-int? (mapcat vals (vals (:latency-us stats))))))))))

(deftest what-is-open-is-told-apart
  (let [gate (CountDownLatch. 1)]
    (wire/with-server [{:keys [server port]}
                       (fn [{:keys [uri websocket?] :as req}]
                         (cond websocket?       (server/as-channel req {})
                               (= "/wait" uri)  (do (.await gate) {:body "done"})
                               :else            {:body "quick"}))
                       {}]
      (with-open [idle    (wire/connect port)
                  busy    (wire/connect port)
                  arrives (wire/connect port)
                  ws      (wire/connect port)]
        (wire/send! idle good)
        (is (= "quick" (:body (wire/answer idle))))
        (wire/send! busy (wire/get-request "/wait"))
        (wire/send! arrives "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        (is (= 100 (:status (wire/answer arrives))))
        (wire/send! arrives "12345")
        (wire/send! ws (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                         ["Sec-WebSocket-Version" "13"] ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))
        (is (= 101 (:status (wire/read-head ws))))
        (is (wire/eventually #(let [{:keys [connections requests bytes]} (server/server-stats server)]
                                (= [{:open 4 :idle 2 :accepted 4 :refused 0 :websockets 1 :tls 0} 1 {1 1 2 1} 5]
                                   [connections (:active requests) (:by-status requests) (:buffered bytes)])))
            (pr-str (server/server-stats server)))
        (.countDown gate)
        (is (= "done" (:body (wire/answer busy))))))))

(deftest bytes-that-a-peer-does-not-read-are-pending
  (wire/with-server [{:keys [server port]} (fn [_] {:body (byte-array 20000000)}) {}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn good)
      (is (= 200 (:status (wire/read-head conn))))
      ;; The handler's thread may still be writing.
      (is (wire/eventually #(let [{:keys [pending out]} (:bytes (server/server-stats server))]
                              (and (< 1000000 (long pending) 20000000)
                                   (< 20000000 (+ (long pending) (long out)) 20001000)))))
      (wire/read-exactly conn 20000000)
      (is (wire/eventually #(= 0 (get-in (server/server-stats server) [:bytes :pending])))))))

(deftest latencies-are-those-since-the-last-call-and-rounded-up-by-a-quarter-at-most
  ;; 135 ms: rounded up by halves of a power of two, they would be 196.
  (wire/with-server [{:keys [server port]} (fn [{:keys [uri]}] (when (= "/slow" uri) (Thread/sleep 135)) {:body "x"}) {}]
    (let [begun (System/nanoTime)
          _     (wire/fetch port "/slow")
          most  (quot (- (System/nanoTime) begun) 1000)
          {:keys [handler whole]} (:latency-us (settled server))]
      (is (<= 135000 (long (:p50 handler)) (long (:max handler)) (long (:max whole)) (+ 1000 (* 1.25 most)))))
    (is (= {:p50 0 :p90 0 :p99 0 :max 0} (:whole (:latency-us (server/server-stats server)))))
    (wire/fetch port "/quick")
    (is (> 135000 (long (:p50 (:handler (:latency-us (settled server)))))))))

(deftest buckets-end-where-those-that-the-core-counts-begin
  (is (= (concat (range 1 4)
                 (for [doubling (range 2 32), quarter (range 4 8)] (bit-shift-left quarter (- doubling 2)))
                 [(bit-shift-left 1 32)])
         (map statistics/bucket-end (range Abi/STAT_BUCKETS)))))

(deftest a-request-that-finds-the-queue-full-is-counted-as-rejected
  (let [gate (CountDownLatch. 1)]
    (wire/with-server [{:keys [server port]} (fn [_] (.await gate) {:body "x"}) {:allow-virtual? false :thread 1 :queue-size 1}]
      (let [conns (doall (repeatedly 6 #(doto (wire/connect port) (wire/send! good))))]
        (is (wire/eventually #(pos? (long (get-in (server/server-stats server) [:requests :rejected])))))
        (is (wire/eventually #(let [{:keys [waiting threads]} (:queue (server/server-stats server))]
                                (and (= 1 threads) (<= 1 (long waiting) 2)))))
        (.countDown gate)
        (let [statuses (frequencies (map (comp :status wire/answer) conns))
              {:keys [rejected by-status total]} (:requests (server/server-stats server))]
          (is (= (statuses 503) rejected (by-status 5)))
          (is (= 6 total)))
        (run! #(.close ^Closeable %) conns)))))

(deftest a-request-that-a-users-pool-refuses-is-counted-as-rejected
  (let [gate (CountDownLatch. 1)
        pool (:pool (server/new-worker {:n-threads 1 :queue-size 2 :allow-virtual? false}))
        {:keys [server port] :as started} (wire/start (fn [_] (.await gate) {:body "x"}) {:worker-pool pool})
        conns    (doall (repeatedly 10 #(doto (wire/connect port) (wire/send! good))))
        rejected #(get-in (server/server-stats server) [:requests :rejected])]
    (is (wire/eventually #(= 7 (rejected))))
    (is (= {:waiting 0 :oldest-ms 0} (select-keys (:queue (server/server-stats server)) [:waiting :oldest-ms]))
        "those of a user's pool are not known")
    (.shutdown pool)
    (.countDown gate)
    (is (= {503 7, 200 3} (frequencies (map (comp :status wire/answer) conns))))
    (wire/with-server [{:keys [server port]} (constantly {}) {:worker-pool pool}]
      (is (= 503 (:status (wire/fetch port "/"))))
      (is (= 1 (get-in (server/server-stats server) [:requests :rejected])) "a pool that was shut down by others"))
    (wire/stop started)
    (run! #(.close ^Closeable %) conns)))

(deftest native-memory-is-reported-and-returned
  (wire/with-server [{:keys [server port]} (constantly {}) {}]
    (let [stopped (wire/start (constantly {}) {})]
      (wire/stop stopped)
      (doseq [[what asked] {"running" server, "stopped" (:server stopped)}]
        (testing what
          (let [native #(long (get-in (server/server-stats asked) [:bytes :native]))
                before (native)]
            (with-open [conn (wire/connect port)]
              (wire/send! conn "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7000000\r\n\r\n" (byte-array 6000000))
              (is (wire/eventually #(<= 5900000 (- (native) before)))))
            (is (wire/eventually #(> 1000000 (- (native) before))))))))))

(deftest a-stopped-server-still-tells-what-it-has-done
  (let [{:keys [server port] :as started} (wire/start (constantly {:body "x"}) {})]
    (is (= 200 (:status (wire/fetch port "/"))))
    (wire/stop started)
    (let [{:keys [connections requests since]} (server/server-stats server)]
      (is (= {:open 0 :idle 0 :accepted 1 :refused 0 :websockets 0 :tls 0} connections))
      (is (= [1 {2 1}] ((juxt :total :by-status) requests)))
      (is (inst? since)))))

(deftest a-time-limit-that-ends-a-request-is-counted
  (wire/with-server [{:keys [server port]} (constantly {}) {:header-timeout 100}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn "GET / HT")
      (is (= 408 (:status (wire/answer conn))))
      (let [{:keys [timeouts requests]} (settled server)]
        (is (= {:header 1 :idle 0 :body 0 :write 0 :handler 0 :ws 0} timeouts))
        (is (= [1 {4 1}] ((juxt :total :by-status) requests)))))))

;;;; For monitoring systems

(defn- samples
  "{name-with-labels number} of a page for Prometheus; checks that each line is one or describes the next ones."
  [text]
  (into {}
        (for [line (str/split-lines text)
              :when (not (re-matches #"# (HELP [a-z_]+ .+\.|TYPE [a-z_]+ (gauge|counter|histogram))" line))]
          (let [[_ name n] (re-matches #"([a-z_]+(?:\{[a-z]+=\"[^\"]+\"\})?) ([0-9.]+)" line)]
            (is name line)
            [name (Double/parseDouble (str n))]))))

(deftest prometheus-gets-the-numbers-of-a-server
  (wire/with-server [{:keys [server port]} (fn [{:keys [uri]}] (when (= "/slow" uri) (Thread/sleep 300)) {:body "x"}) {}]
    (dotimes [_ 3] (wire/fetch port "/"))
    (wire/fetch port "/slow")
    (settled server)
    (let [found  (samples (stats/prometheus server))
          bucket #(found (str "http_server_request_duration_seconds_bucket{le=\"" % "\"}"))]
      (is (= [4.0 4.0 0.0 0.0 4.0]
             (map found ["http_server_requests_total" "http_server_responses_total{status=\"2xx\"}"
                         "http_server_connections{state=\"idle\"}" "http_server_timeouts_total{limit=\"idle\"}"
                         "http_server_connections_accepted_total"])))
      (is (= [4.0 4.0] [(bucket "+Inf") (found "http_server_request_duration_seconds_count")]))
      (is (<= (bucket "0.25") 3.0) "the slow one is not below its time")
      (is (apply <= (map bucket ["0.005" "0.01" "0.025" "0.05" "0.075" "0.1" "0.25" "0.5" "0.75" "1" "2.5" "5" "7.5" "10" "+Inf"])))
      (is (<= 0.3 (found "http_server_request_duration_seconds_sum") 60)))))

(deftest prometheus-gets-the-numbers-of-a-client
  (wire/with-server [{:keys [port]} (constantly {:body "x"}) {}]
    (let [own (client/make-client {})]
      (dotimes [_ 3] @(client/get (str "http://127.0.0.1:" port) {:client own}))
      (is (= [3.0 1.0 2.0]
             (map (samples (stats/prometheus own))
                  ["http_client_requests_total" "http_client_connections_opened_total" "http_client_requests_reused_total"])))
      (client/client-stop! own))))

(deftest what-has-no-statistics-is-refused
  (is (thrown-with-msg? IllegalArgumentException #"no source of statistics: java.lang.String; expected an HttpServer"
                        (stats/prometheus "server")))
  (is (thrown? IllegalArgumentException (stats/register-mbean! nil))))

(deftest an-mbean-has-the-numbers-until-it-is-taken-out
  (wire/with-server [{:keys [server port]} (constantly {:body "x"}) {}]
    (let [beans       (ManagementFactory/getPlatformMBeanServer)
          find-beans  #(.queryNames beans (ObjectName. (str "org.httpkit:type=Server,port=" port ",*")) nil)
          unregister! (stats/register-mbean! server)
          ^ObjectName bean (first (find-beans))]
      (wire/fetch port "/")
      (is (wire/eventually #(= 1 (.getAttribute beans bean "http_server_responses_total.2xx"))))
      (is (= 1 (.size (.getAttributes beans bean (into-array String ["http_server_requests_total" "other"])))))
      (is (some #(= "http_server_request_duration_seconds.sum" (.getName ^javax.management.MBeanAttributeInfo %))
                (.getAttributes (.getMBeanInfo beans bean))))
      (is (thrown? AttributeNotFoundException (.getAttribute beans bean "other")))
      (unregister!)
      (unregister!)
      (is (empty? (find-beans))))))

(deftest an-mbean-is-registered-once-and-again-when-it-was-taken-out
  (wire/with-server [{:keys [server port]} (constantly {:body "x"}) {}]
    (let [unregister! (stats/register-mbean! server)]
      (is (thrown-with-msg? IllegalStateException
                            (re-pattern (str "^register-mbean!: registered already, as org.httpkit:type=Server,port=" port
                                             ",id=\\d+: call the function that its register-mbean! returned$"))
                            (stats/register-mbean! server)))
      (unregister!)
      ((stats/register-mbean! server)))))

(deftest attributes-of-an-mbean-that-are-read-one-after-the-other-are-of-one-moment
  (wire/with-server [{:keys [server port]} (constantly {:body "x"}) {}]
    (let [beans       (ManagementFactory/getPlatformMBeanServer)
          unregister! (stats/register-mbean! server)
          bean        (first (.queryNames beans (ObjectName. (str "org.httpkit:type=Server,port=" port ",*")) nil))
          total       #(.getAttribute beans ^ObjectName bean "http_server_requests_total")]
      ;; A busy machine may need more than the half second of a snapshot for one request.
      (is (wire/eventually #(let [before (total)]
                              (wire/fetch port "/")
                              (= before (total)))))
      (is (wire/eventually #(= (total) (get-in (server/server-stats server) [:requests :total]))) "but not for long")
      (unregister!))))

(defn- meters
  "{[name {tag value}] [value ...]} of a registry."
  [^MeterRegistry registry]
  (into {}
        (for [^Meter meter (.getMeters registry)]
          [[(.getName (.getId meter)) (into {} (map (fn [^Tag tag] [(.getKey tag) (.getValue tag)])) (.getTags (.getId meter)))]
           (mapv #(.getValue ^io.micrometer.core.instrument.Measurement %) (.measure meter))])))

(defn- collected?
  "Whether `source`, which `make` returns and nothing else refers to, can be collected once it is stopped."
  [make stop!]
  (let [source (WeakReference. (let [source (make)] (stop! source) source))]
    (boolean (wire/eventually 30000 #(do (System/gc) (nil? (.get source)))))))

(defn- stopped-sources
  "Whether a server and a client can be collected that `watch` was called with."
  [watch]
  (let [server #(let [server (:server (wire/start (constantly {:body "x"}) {}))] (watch server) server)
        client #(let [client (client/make-client {})] (watch client) client)]
    [(collected? server #(deref (server/server-stop! %)))
     (collected? client client/client-stop!)]))

(deftest monitoring-systems-keep-no-server-and-no-client
  (let [registry (SimpleMeterRegistry.)
        beans    (ManagementFactory/getPlatformMBeanServer)
        ours     #(.queryNames beans (ObjectName. "org.httpkit:*") nil)]
    (is (= [true true] (stopped-sources #(stats/micrometer-bind! registry %))))
    (is (pos? (count (meters registry))) "the registry is there still")
    (is (= [true true] (stopped-sources stats/register-mbean!)))
    (is (<= 2 (count (ours))))
    (doseq [^ObjectName bean (ours)]
      (.getMBeanInfo beans bean)
      (is (thrown? Exception (.getAttribute beans bean "http_server_requests_total"))))
    (is (empty? (ours)) "a look at what is gone takes it out")))

(deftest micrometers-meters-can-be-removed
  (wire/with-server [{:keys [server]} (constantly {:body "x"}) {}]
    (let [registry (SimpleMeterRegistry.)
          other    (client/make-client {})
          unbind!  (stats/micrometer-bind! registry server)]
      (stats/micrometer-bind! registry other)
      (unbind!)
      (unbind!)
      (is (= #{"http.client"} (set (map (fn [[[name]]] (re-find #"http\.[a-z]+" name)) (meters registry)))))
      (client/client-stop! other))))

(deftest micrometer-gets-the-numbers-of-servers-and-clients
  (wire/with-server [{:keys [server port]} (constantly {:body "x"}) {}]
    (let [registry (SimpleMeterRegistry.)
          own      (client/make-client {})]
      (stats/micrometer-bind! registry server)
      (stats/micrometer-bind! registry own)
      (dotimes [_ 3] @(client/get (str "http://127.0.0.1:" port) {:client own}))
      (is (wire/eventually #(= [3.0] ((meters registry) ["http.server.responses" {"status" "2xx"}]))))
      ;; Meters may be half a second old.
      (is (wire/eventually #(= [[1.0] [0.0] [3.0] [2.0]]
                               (map (meters registry)
                                    [["http.server.connections" {"state" "idle"}] ["http.server.active.requests" {}]
                                     ["http.client.requests" {}] ["http.client.requests.reused" {}]]))))
      (let [found (meters registry)]
        (is (= 3.0 (first (found ["http.server.request.duration" {}]))))
        (is (pos? (double (second (found ["http.server.request.duration" {}]))))))
      (client/client-stop! own))))

(deftest two-servers-of-one-micrometer-registry-are-told-apart-by-labels-or-refused
  (let [registry (SimpleMeterRegistry.)
        handler  (constantly {:body "x"})]
    (wire/with-server [{one :server, port :port} handler {}]
      (wire/with-server [{two :server} handler {}]
        (let [unbind! (stats/micrometer-bind! registry one)
              before  (meters registry)]
          (is (thrown-with-msg? IllegalStateException #"micrometer-bind!: the registry has such meters already, as .*http.server"
                                (stats/micrometer-bind! registry two)))
          (is (= (keys before) (keys (meters registry))) "nothing was added or taken away")
          (unbind!))
        (let [[unbind! & _] (mapv #(stats/micrometer-bind! registry %1 {:labels {%2 %3}})
                                  [one two] ["server" :server] ["one" "two"])]
          (wire/fetch port "/")
          (is (wire/eventually #(= [[1.0] [0.0]] (map (meters registry) [["http.server.requests" {"server" "one"}]
                                                                         ["http.server.requests" {"server" "two"}]]))))
          (is (contains? (meters registry) ["http.server.connections" {"state" "idle", "server" "one"}]))
          (is (contains? (meters registry) ["http.server.request.duration" {"server" "two"}]))
          (unbind!)
          (is (= #{"two"} (set (map (fn [[[_ tags]]] (tags "server")) (meters registry))))))))))

(deftest wrong-labels-are-named
  (wire/with-server [{:keys [server]} (constantly {:body "x"}) {}]
    (let [registry (SimpleMeterRegistry.)]
      (is (thrown-with-msg? IllegalArgumentException #":labels .*: expected a map from Strings or keywords to Strings"
                            (stats/micrometer-bind! registry server {:labels {"server" 1}})))
      (is (thrown-with-msg? IllegalArgumentException #"options 7 of micrometer-bind!: expected a map"
                            (stats/micrometer-bind! registry server 7)))
      (is (thrown-with-msg? IllegalArgumentException #":tags is no option of micrometer-bind!"
                            (stats/micrometer-bind! registry server {:tags {}})))
      (doseq [own ["status" :state]]
        (is (thrown-with-msg? IllegalArgumentException (re-pattern (str "label " (pr-str own) " of micrometer-bind!: the metrics"))
                              (stats/micrometer-bind! registry server {:labels {own "mine"}}))))
      (doseq [bind! [stats/micrometer-bind! stats/opentelemetry-bind!]]
        (is (thrown-with-msg? IllegalArgumentException #":labels: two of them have the name \"b\""
                              (bind! registry server {:labels {:a/b "x" "b" "y"}}))))
      (is (empty? (meters registry))))))

(deftest what-is-no-registry-is-named
  (wire/with-server [{:keys [server]} (constantly {:body "x"}) {}]
    (doseq [[registry about] {nil "nil", (Object.) "java.lang.Object"}]
      (is (thrown-with-msg? IllegalArgumentException
                            (re-pattern (str "^micrometer-bind!: expected a MeterRegistry, not " about "$"))
                            (stats/micrometer-bind! registry server))))))

(deftest a-monitoring-system-that-is-not-on-the-class-path-is-named
  (let [class-path (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
                        (remove #(re-find #"micrometer|opentelemetry" %))
                        (str/join File/pathSeparator))
        script     '(let [client ((requiring-resolve 'org.httpkit.client/make-client) {})]
                      (doseq [bind! '[org.httpkit.stats/micrometer-bind! org.httpkit.stats/opentelemetry-bind!]]
                        (println (try ((requiring-resolve bind!) (Object.) client)
                                      (catch IllegalStateException e (.getMessage e)))))
                      (System/exit 0))]
    (is (= ["micrometer-bind!: Micrometer is not on the class path"
            "opentelemetry-bind!: opentelemetry-api is not on the class path"]
           ;; Behind warnings of the JVM.
           (take-last 2 (str/split-lines (:out (subprocess/run (pr-str script) :class-path class-path))))))))

(deftest a-micrometer-registry-that-refuses-a-meter-keeps-none
  (wire/with-server [{:keys [server]} (constantly {:body "x"}) {}]
    (let [registry (SimpleMeterRegistry.)]
      (.meterFilter (.config registry)
                    (reify MeterFilter
                      (map [_ id] (if (= "http.server.threads" (.getName id)) (throw (IllegalStateException. "no")) id))))
      (is (thrown-with-msg? IllegalStateException #"^no$" (stats/micrometer-bind! registry server)))
      (is (empty? (meters registry))))))
