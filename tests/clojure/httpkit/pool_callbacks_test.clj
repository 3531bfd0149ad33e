(ns httpkit.pool-callbacks-test
  "What `on-body` and `on-drain` call runs on the worker pool: a stop gives it time, and `:thread` is its limit."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.util.concurrent CountDownLatch Executors)))

(set! *warn-on-reflection* true)

(defn- pools
  "Runs `f` with options for each kind of pool, with `n` threads that run callbacks, and their names' prefix."
  [n f]
  (doseq [about ["own threads" "a user's pool" "virtual threads"]]
    (testing about
      (let [prefix (str "callbacks-" (System/nanoTime) "-")]
        (f (case about
             "own threads"     {:allow-virtual? false :thread n :prefix prefix}
             "a user's pool"   {:worker-pool (Executors/newFixedThreadPool n (org.httpkit.PrefixThreadFactory. prefix))}
             "virtual threads" {})
           prefix)))))

(defn- threads-of [prefix]
  (count (filter (fn [^Thread t] (str/starts-with? (.getName t) prefix)) (keys (Thread/getAllStackTraces)))))

(defn- with-body
  "A handler that responds with what `f`, which is called with each whole body, returns."
  [f]
  (fn [req]
    (server/as-channel req
      {:on-open (fn [ch]
                  (server/on-body req (fn [^bytes bytes _] (server/send! ch (str (f (String. bytes)))))))})))

(defn- post! [conn ^String body]
  (wire/send! conn "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " (str (count body)) "\r\n\r\n" body))

(defn- stop-later [{:keys [server]} timeout]
  (future (deref (server/server-stop! server {:timeout timeout}) wire/patience-ms :late)))

(defn- waits? [stopping] (= :waits (deref stopping 300 :waits)))

(defn- stopped? [stopping] (true? (deref stopping wire/patience-ms :late)))

(deftest a-stop-gives-functions-of-on-body-time
  (pools 4
    (fn [options prefix]
      (let [began (promise) gate (promise)
            {:keys [port] :as started}
            (wire/start (with-body (fn [body] (deliver began true) (deref gate wire/patience-ms nil) (str "got " body)))
                        options)]
        (with-open [conn (wire/connect port)]
          (post! conn "abc")
          (is (true? (deref began wire/patience-ms :never)))
          (let [stopping (stop-later started 20000)]
            (is (waits? stopping))
            (deliver gate true)
            (is (= "got abc" (:body (wire/answer conn))))
            (is (stopped? stopping))
            (is (wire/eventually 4000 #(zero? (threads-of prefix))) "idle threads end at once")))))))

(deftest a-stop-gives-on-drain-time
  (pools 4
    (fn [options prefix]
      (let [began (promise) gate (promise) more (promise)
            piece (apply str (repeat 65536 \y))
            {:keys [port] :as started}
            (wire/start #(server/as-channel %
                           {:max-pending-bytes 200000 :on-overflow :reject
                            :on-open  (fn [ch] (future (while (server/send! ch piece false))))
                            :on-drain (fn [ch]
                                        (deliver began true)
                                        (deref gate wire/patience-ms nil)
                                        (deliver more (server/send! ch "more")))})
                        options)]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/"))
          (let [body (future (wire/answer conn))]
            (is (true? (deref began wire/patience-ms :never)))
            (let [stopping (stop-later started 20000)]
              (is (waits? stopping))
              (deliver gate true)
              (is (true? (deref more wire/patience-ms :never)))
              (is (str/ends-with? (str (:body (deref body wire/patience-ms nil))) "more"))
              (is (stopped? stopping))
              (is (wire/eventually 4000 #(zero? (threads-of prefix)))))))))))

(deftest callbacks-that-take-too-long-are-interrupted-and-those-that-wait-run-all-the-same
  (pools 1
    (fn [options prefix]
      (let [began (atom []) ended (atom []) handled (atom 0)
            handler (with-body (fn [body]
                                 (swap! began conj body)
                                 (swap! ended conj
                                        (try (when (= "slow" body) (Thread/sleep 60000)) :slept
                                             (catch InterruptedException _ :interrupted)))))
            {:keys [port] :as started} (wire/start (fn [req] (try (handler req) (finally (swap! handled inc)))) options)
            conns (vec (repeatedly 4 #(wire/connect port)))]
        (try
          (post! (first conns) "slow")
          (is (wire/eventually #(= 1 (count @began))))
          (doseq [conn (rest conns)] (post! conn "quick"))
          ;; The only thread of a user's pool is busy: it never begins the handlers of the others.
          (when-not (:worker-pool options)
            (is (wire/eventually #(= 4 @handled))))
          (let [start    (System/nanoTime)
                stopping (stop-later started 1000)]
            (is (stopped? stopping))
            (is (< 0.99 (/ (- (System/nanoTime) start) 1e9) 20) "not before its time, and not much later"))
          (let [expected (if (:worker-pool options) {:interrupted 1} {:interrupted 1 :slept 3})]
            (is (wire/eventually #(= expected (frequencies @ended))) (pr-str @ended)))
          (is (wire/eventually 4000 #(zero? (threads-of prefix))) "no thread stays")
          (finally (run! #(.close ^java.io.Closeable %) conns)))))))

(deftest no-more-callbacks-run-at-a-time-than-the-pool-may-have-threads
  (let [running (atom 0) most (atom 0) gate (CountDownLatch. 1)]
    (wire/with-server [{:keys [port]}
                       (with-body (fn [body]
                                    (swap! most max (swap! running inc))
                                    (.await gate)
                                    (Thread/sleep 2)
                                    (swap! running dec)
                                    body))
                       {:allow-virtual? false :thread 1}]
      (let [conns (vec (repeatedly 30 #(wire/connect port)))]
        (try
          (doseq [[i conn] (map-indexed vector conns)] (post! conn (str i)))
          (is (wire/eventually #(pos? (long @running))))
          (Thread/sleep 100) ; others are not to begin
          (.countDown gate)
          (is (= (map str (range 30)) (map #(:body (wire/answer %)) conns)) "all of them run")
          (is (= 1 @most))
          (finally (run! #(.close ^java.io.Closeable %) conns)))))))

(deftest a-handler-may-wait-for-a-callback
  (wire/with-server [{:keys [port]}
                     (fn [req]
                       (let [size (promise)]
                         (server/on-body req (fn [^bytes bytes _] (deliver size (alength bytes))))
                         {:body (str (deref size wire/patience-ms :never))}))
                     {:allow-virtual? false :thread 1}]
    (is (= "3" (:body (wire/fetch port "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"))))))

(deftest an-interrupt-of-a-callback-does-not-hit-the-next
  (let [gate (CountDownLatch. 1) handled (atom 0)
        handler (with-body (fn [body]
                             (if (= "interrupt" body)
                               (do (.await gate)
                                   (.interrupt (Thread/currentThread)))
                               (try (Thread/sleep 1) "slept" (catch InterruptedException _ "interrupted")))))]
    (wire/with-server [{:keys [port]} (fn [req] (try (handler req) (finally (swap! handled inc))))
                       {:allow-virtual? false :thread 1}]
      (with-open [first-one (wire/connect port), second-one (wire/connect port)]
        (post! first-one "interrupt")
        (is (wire/eventually #(= 1 @handled)))
        (post! second-one "nap")
        (is (wire/eventually #(= 2 @handled)) "it waits for the only thread")
        (.countDown gate)
        (is (= "slept" (:body (wire/answer second-one))))))))
