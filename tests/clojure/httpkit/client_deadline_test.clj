(ns httpkit.client-deadline-test
  "`:deadline` against peers that hang, wherever they can: while the name is
  looked up, in connect, in the TLS handshake, before the head, in the body.

  HTTPKIT_DEADLINE_CALLS sets the number of calls (default 400; 10000 takes
  about a minute)."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [httpkit.client-peer :as peer]
   [org.httpkit.client :as http])
  (:import
   [java.net InetAddress InetSocketAddress ServerSocket Socket URI]
   [java.util.concurrent CountDownLatch Semaphore]
   [java.util.concurrent.atomic AtomicInteger]
   [org.httpkit.client TimeoutException]))

(set! *warn-on-reflection* true)

(def ^:private calls
  (parse-long (or (System/getenv "HTTPKIT_DEADLINE_CALLS") "400")))

(def ^:private deadline 500)
(def ^:private at-once 200)

(defn- listen ^ServerSocket [backlog]
  (ServerSocket. 0 (int backlog) (InetAddress/getByName "127.0.0.1")))

(defn- hanging-server
  "Accepts, writes `text` once something has come, then hangs."
  ^ServerSocket [^String text]
  (let [server (listen 1000)
        hold   (fn [^Socket socket]
                 (try
                   (let [in (.getInputStream socket)]
                     (when (<= 0 (.read in))
                       (.write (.getOutputStream socket) (.getBytes text "ISO-8859-1"))
                       (while (<= 0 (.read in)))))
                   (catch java.io.IOException _)
                   (finally (.close socket))))]
    (doto (Thread. #(try (while true
                           (let [socket (.accept server)]
                             (doto (Thread. ^Runnable (fn [] (hold socket))) (.setDaemon true) (.start))))
                         (catch java.io.IOException _)))
      (.setDaemon true)
      (.start))
    server))

(defn- full-listener
  "A listener whose backlog is full: connects hang."
  ^ServerSocket [fillers]
  (let [server (listen 1)]
    (dotimes [_ 8]
      (let [socket (Socket.)]
        (swap! fillers conj socket)
        (try (.connect socket (.getLocalSocketAddress server) 100)
             (catch java.io.IOException _))))
    server))

(defn- url [scheme ^ServerSocket server]
  (str scheme "://127.0.0.1:" (.getLocalPort server) "/"))

(defn- rss-mib []
  (let [line (first (filter #(.startsWith ^String % "VmRSS")
                      (line-seq (java.io.BufferedReader. (java.io.FileReader. "/proc/self/status")))))]
    (quot (parse-long (re-find #"\d+" line)) 1024)))

(defn- timed-call [opts]
  (let [start  (System/nanoTime)
        result @(http/request (assoc opts :deadline deadline :timeout 60000))]
    {:msecs (quot (- (System/nanoTime) start) 1000000)
     :error (:error result)}))

(defn- run-all
  "Runs `n` calls, at most `at-once` at a time, of the kinds in turn."
  [n kinds]
  (let [room    (Semaphore. at-once)
        done    (CountDownLatch. n)
        results (atom [])]
    (dotimes [i n]
      (.acquire room)
      (doto (Thread. ^Runnable
                     (fn []
                       (try
                         (let [[kind opts] (nth kinds (mod i (count kinds)))]
                           (swap! results conj (assoc (timed-call opts) :kind kind)))
                         (finally (.release room) (.countDown done)))))
        (.setDaemon true)
        (.start)))
    (.await done)
    @results))

(deftest a-deadline-ends-every-call-wherever-the-peer-hangs
  (let [fillers  (atom [])
        silent   (hanging-server "")
        in-head  (hanging-server "HTTP/1.1 200 OK\r\nContent-Le")
        in-body  (hanging-server "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        full     (full-listener fillers)
        resolver (http/make-client
                   {:address-finder (fn [_] (Thread/sleep 5000) (InetSocketAddress. "127.0.0.1" 1))})
        client   (http/make-client {})
        kinds    [[:lookup    {:url "http://hangs.test/" :client resolver}]
                  [:connect   {:url (url "http" full)    :client client}]
                  [:handshake {:url (url "https" silent) :client client :insecure? true}]
                  [:silent    {:url (url "http" silent)  :client client}]
                  [:head      {:url (url "http" in-head) :client client}]
                  [:body      {:url (url "http" in-body) :client client}]]]
    (try
      (run-all (* 2 at-once) kinds) ; warms up
      (System/gc)
      (let [before  (rss-mib)
            results (run-all calls kinds)
            after   (do (System/gc) (rss-mib))]
        (doseq [[kind results] (group-by :kind results)]
          (testing kind
            (is (every? #(instance? org.httpkit.client.TimeoutException (:error %)) results)
              (pr-str (frequencies (map (comp str :error) results))))
            (is (<= (apply max (map :msecs results)) 5000) "never long after the deadline")))
        (println "deadline" deadline "ms," (count results) "calls: msecs"
          (let [sorted (vec (sort (map :msecs results)))
                at     #(nth sorted (min (dec (count sorted)) (long (* % (count sorted)))))]
            {:min (first sorted) :median (at 0.5) :p99 (at 0.99) :max (peek sorted)})
          "; RSS MiB" before "->" after)
        (is (< (- after before) 64) "memory is flat"))
      (testing "connections are freed"
        (let [deadline (+ (System/currentTimeMillis) 5000)]
          (while (and (pos? (long (:connections (http/client-stats client))))
                      (< (System/currentTimeMillis) deadline))
            (Thread/sleep 20)))
        (is (zero? (long (:connections (http/client-stats client)))))
        (is (zero? (long (:active (http/client-stats client))))))
      (finally
        (http/client-stop! client)
        (http/client-stop! resolver)
        (run! #(.close ^Socket %) @fillers)
        (run! #(.close ^ServerSocket %) [silent in-head in-body full])))))

(defn- await-stubbornly [^CountDownLatch latch]
  (while (try (.await latch) false
              (catch InterruptedException _ true))))

(deftest lookups-that-hang-hold-up-no-other-name-and-no-other-client
  (let [go      (CountDownLatch. 1)
        hanging (AtomicInteger.)]
    (peer/with-peer [p (peer/answering (constantly "ok"))]
      (let [stuck (http/make-client
                    {:address-finder (fn [^URI uri]
                                       (when (= "hangs.test" (.getHost uri))
                                         (.incrementAndGet hanging)
                                         (await-stubbornly go)
                                         (.decrementAndGet hanging))
                                       (InetSocketAddress. "127.0.0.1" (int (:port p))))})
            get   (fn [url opts]
                    (let [{:keys [body error]} (deref (http/get url (merge {:deadline 5000} opts)) 20000 nil)]
                      (or (class error) body)))
            hang  #(get "http://hangs.test/" {:client stuck :deadline 200})]
        (try
          (is (= #{TimeoutException} (set (map deref (vec (repeatedly 60 (fn [] (future (hang)))))))))
          (is (<= 1 (.get hanging) 16) "60 requests cost no 60 threads")
          (is (= "ok" (get (:url p) {})) "an address needs no lookup")
          (is (= "ok" (get (str "http://localhost:" (:port p)) {})) "another client")
          (is (= "ok" (get "http://answers.test/" {:client stuck})) "another name")
          (is (= TimeoutException (hang)))
          (.countDown go)
          (is (= "ok" (get "http://hangs.test/" {:client stuck})) "once they have ended")
          (is (peer/eventually #(zero? (.get hanging))))
          (finally
            (.countDown go)
            (http/client-stop! stuck)))))))

(deftest many-at-once-look-one-name-up
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [url (str "http://localhost:" (:port p))]
      (is (= {"ok" 200} (frequencies (map (comp :body deref)
                                       (vec (repeatedly 200 #(http/get url {:deadline 20000}))))))))))

(defn- interrupted-request
  "The result of a request that an interrupted thread makes, and whether the thread is interrupted afterwards."
  [url & [opts]]
  (let [made (promise)]
    (doto (Thread. (fn []
                     (.interrupt (Thread/currentThread))
                     (let [result (http/get url (assoc opts :deadline 10000))]
                       (deliver made [result (.isInterrupted (Thread/currentThread))]))))
      (.start)
      (.join))
    (let [[result flag] @made]
      [(deref result 20000 nil) flag])))

(deftest an-interrupted-thread-makes-requests-to-addresses-and-is-told-why-not-to-names
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (is (= ["ok" true] (update (interrupted-request (:url p)) 0 :body)))
    (let [port (with-open [s (ServerSocket. 0)] (.getLocalPort s))
          [{:keys [error]} flag] (interrupted-request (str "http://[::1]:" port))]
      (is (instance? java.net.SocketException error) (str error))
      (is (true? flag)))
    (let [go (promise)
          c  (http/make-client {:address-finder (fn [_] @go)})
          [{:keys [error]} flag] (interrupted-request "http://a.test/" {:client c})]
      (is (instance? InterruptedException error))
      (is (str/includes? (str (ex-message error)) "a.test"))
      (is (true? flag))
      (deliver go nil)
      (http/client-stop! c))))
