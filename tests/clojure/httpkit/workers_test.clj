(ns httpkit.workers-test
  "The threads that run handlers: pools of every kind, full ones, growing ones, virtual ones."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.server :as server]
            [org.httpkit.utils  :as utils])
  (:import (java.util.concurrent AbstractExecutorService ArrayBlockingQueue CountDownLatch ExecutorService
                                 Executors ForkJoinPool LinkedBlockingQueue RejectedExecutionException
                                 ThreadPoolExecutor TimeUnit)
           (org.httpkit PrefixThreadFactory)))

(set! *warn-on-reflection* true)

(defn- blocking-handler
  "A handler that waits for `gate` when asked for /block, and counts in `running` how many do."
  [^CountDownLatch gate running]
  (fn [{:keys [uri]}]
    (when (str/starts-with? uri "/block")
      (swap! running inc)
      (.await gate))
    {:status 200 :body (str uri " " (.getName (Thread/currentThread)))}))

(defmacro ^:private with-conns
  "Runs `body` with `name` bound to `n` connections, closed afterwards."
  [[name n port] & body]
  `(let [~name (vec (repeatedly ~n #(wire/connect ~port)))]
     (try ~@body
          (finally (run! (fn [^java.io.Closeable c#] (.close c#)) ~name)))))

(defn- current-thread-name [_] {:status 200 :body (.getName (Thread/currentThread))})

;; A user's own pool

(deftest any-executor-service-serves
  (doseq [[about ^ExecutorService pool]
          {"fixed"         (Executors/newFixedThreadPool 2)
           "cached"        (Executors/newCachedThreadPool)
           "single thread" (Executors/newSingleThreadExecutor)
           "scheduled"     (Executors/newScheduledThreadPool 2)
           "work stealing" (Executors/newWorkStealingPool)
           "fork/join"     (ForkJoinPool. 2)
           "on the caller" (let [shut (atom false)]
                             (proxy [AbstractExecutorService] []
                               (execute [^Runnable r] (.run r))
                               (shutdown [] (reset! shut true))
                               (shutdownNow [] (reset! shut true) [])
                               (isShutdown [] @shut)
                               (isTerminated [] @shut)
                               (awaitTermination [_ _] true)))}]
    (testing about
      (wire/with-server [{:keys [port]} current-thread-name {:worker-pool pool}]
        (with-open [conn (wire/connect port)]
          (dotimes [_ 5]
            (wire/send! conn (wire/get-request "/"))
            (is (= 200 (:status (wire/answer conn)))))))
      (is (.isShutdown pool) "the pool belongs to the server"))))

(deftest a-delayed-pool-is-forced-once
  (let [made (atom 0)
        pool (delay (swap! made inc) (Executors/newFixedThreadPool 1 (PrefixThreadFactory. "mine-")))]
    (wire/with-server [{:keys [port]} current-thread-name {:worker-pool pool}]
      (is (= ["mine-1" "mine-1"] (repeatedly 2 #(:body (wire/fetch port "/"))))))
    (is (= 1 @made))
    (is (.isShutdown ^ExecutorService @pool))))

(deftest a-nil-pool-is-the-default-pool
  (wire/with-server [{:keys [port]} current-thread-name {:worker-pool nil :allow-virtual? false}]
    (is (re-matches #"http-kit-server-worker-\d+" (:body (wire/fetch port "/"))))))

(deftest a-server-makes-no-queue-of-the-pool-that-its-options-describe
  ;; An ArrayBlockingQueue of this size would not fit into any heap.
  (wire/with-server [{:keys [port]} current-thread-name {:allow-virtual? false :queue-size Integer/MAX_VALUE}]
    (is (= 200 (:status (wire/fetch port "/"))))))

(def ^:private refusal
  {:status 503, :body "Server unavailable, please try again", :content-type "text/plain; charset=utf-8", :connection nil})

(defn- as-refusal [{:keys [status body headers]}]
  {:status status :body body :content-type (headers "content-type") :connection (headers "connection")})

(deftest a-rejecting-pool-answers-503-and-keeps-the-connection
  (let [open? (atom false)
        inner (Executors/newFixedThreadPool 2)
        pool  (proxy [AbstractExecutorService] []
                (execute [^Runnable r]
                  (if @open? (.execute inner r) (throw (RejectedExecutionException. "no"))))
                (shutdown [] (.shutdown inner))
                (shutdownNow [] (.shutdownNow inner))
                (isShutdown [] (.isShutdown inner))
                (isTerminated [] (.isTerminated inner))
                (awaitTermination [n unit] (.awaitTermination inner n unit)))]
    (wire/with-server [{:keys [port errors events]} (constantly {:status 200 :body "served"}) {:worker-pool pool}]
      (with-open [conn (wire/connect port)]
        (dotimes [_ 3]
          (wire/send! conn (wire/get-request "/"))
          (is (= refusal (as-refusal (wire/answer conn)))))
        (testing "pipelined requests are refused one by one"
          (wire/send! conn (apply str (repeat 3 (wire/get-request "/"))))
          (is (= [503 503 503] (repeatedly 3 #(:status (wire/answer conn))))))
        (reset! open? true)
        (wire/send! conn (wire/get-request "/"))
        (is (= "served" (:body (wire/answer conn)))))
      (is (wire/eventually #(= 6 (count @errors))))
      (is (= ["failed to submit task to executor service"] (distinct (map first @errors))))
      (is (every? #(instance? RejectedExecutionException (second %)) @errors))
      (is (wire/eventually #(= 6 (count (filter #{"httpkit.server.status.503"} @events))))))))

(deftest a-pool-that-breaks-answers-503
  (let [pool (proxy [AbstractExecutorService] []
               (execute [_] (throw (OutOfMemoryError. "unable to create native thread")))
               (shutdown []) (shutdownNow [] []) (isShutdown [] true) (isTerminated [] true)
               (awaitTermination [_ _] true))]
    (wire/with-server [{:keys [port]} (constantly {}) {:worker-pool pool}]
      (is (= [503 503] (repeatedly 2 #(:status (wire/fetch port "/"))))))))

(deftest a-full-queue-of-a-users-pool-answers-503
  (let [gate (CountDownLatch. 1), running (atom 0)
        pool (ThreadPoolExecutor. 1 1 0 TimeUnit/SECONDS (ArrayBlockingQueue. 1))]
    (wire/with-server [{:keys [port]} (blocking-handler gate running) {:worker-pool pool}]
      (with-conns [conns 2 port]
        (wire/send! (first conns) (wire/get-request "/block"))
        (is (wire/eventually #(= 1 @running)))
        (wire/send! (second conns) (wire/get-request "/queued"))
        (is (wire/eventually #(= 1 (.size (.getQueue pool)))))
        (is (= refusal (as-refusal (wire/fetch port "/third"))))
        (.countDown gate)
        (is (= [200 200] (mapv (comp :status wire/answer) conns)))
        (is (= 200 (:status (wire/fetch port "/again"))))))))

(def ^:private full-pools
  "Functions that return options of a server with one thread and a queue for one."
  {"own threads"   (constantly {:allow-virtual? false :thread 1 :queue-size 1})
   "a user's pool" #(hash-map :worker-pool (ThreadPoolExecutor. 1 1 0 TimeUnit/SECONDS (ArrayBlockingQueue. 1)))})

(deftest on-close-and-the-refusal-of-a-message-do-not-wait-for-a-full-queue
  (doseq [[about options-of] full-pools
          how                [:peer-leaves :message]]
    (testing [about how]
      (let [options (options-of)
            gate (CountDownLatch. 1), running (atom 0), opened (promise), closed (promise)
            todo #(count (filter #{"httpkit.server.status.503.todo"} @%))
            full #(count (filter (fn [[text]] (= text "increase :queue-size if this happens often")) @%))]
        (wire/with-server [{:keys [port errors events]}
                           (let [block (blocking-handler gate running)]
                             (fn [{:keys [websocket?] :as req}]
                               (if websocket?
                                 (server/as-channel req {:on-open    #(deliver opened %)
                                                         :on-receive (fn [_ _])
                                                         :on-close   (fn [_ status] (deliver closed status))})
                                 (block req))))
                           options]
          (let [web (ws/connect port wire/patience-ms)]
            (is (deref opened wire/patience-ms false))
            (with-conns [[a b c] 3 port]
              (wire/send! a (wire/get-request "/block"))
              (is (wire/eventually #(= 1 @running)))
              (run! #(wire/send! % (wire/get-request "/")) [b c])
              (is (wire/eventually #(some #{"httpkit.server.status.503"} @events)) "one is queued, the other refused")
              (let [full-before (full errors)]
                (case how
                  :peer-leaves (ws/disconnect web)
                  :message     (do (ws/send! web [[:text "refused"]] nil)
                                   (is (= [:close 1013 "Server overloaded"] (ws/receive! web)))
                                   (ws/disconnect web)))
                (is (= (if (= how :message) :server-close :going-away) (deref closed wire/patience-ms :not-heard)))
                (is (wire/eventually #(= 1 (todo events))))
                (is (wire/eventually #(= (inc full-before) (full errors)))))
              (.countDown gate)
              (is (= {200 2, 503 1} (frequencies (map #(:status (wire/answer %)) [a b c]))))
              (is (= 1 (todo events)) "told once"))))))))

(deftest of-many-refused-requests-few-are-logged-and-the-number-of-the-others
  (let [pool (proxy [AbstractExecutorService] []
               (execute [_] (throw (RejectedExecutionException. "no")))
               (shutdown []) (shutdownNow [] []) (isShutdown [] true) (isTerminated [] true)
               (awaitTermination [_ _] true))
        omitted #(Long/parseLong (or (second (re-find #"\((\d+) such lines were left out\)" (first %))) "0"))]
    (wire/with-server [{:keys [port errors events]} (constantly {}) {:worker-pool pool}]
      (with-open [conn (wire/connect port)]
        (dotimes [_ 20]
          (wire/send! conn (apply str (repeat 100 (wire/get-request "/"))))
          (is (= #{503} (set (repeatedly 100 #(:status (wire/answer conn)))))))
        (is (wire/eventually #(= 2000 (count (filter #{"httpkit.server.status.503"} @events)))) "an event for each")
        (is (wire/eventually #(= 2000 (+ (count (filter (comp zero? omitted) @errors)) (reduce + (map omitted @errors)))))
            "all are told of, though no further one comes")
        (is (> 1000 (count @errors))))
      (is (every? #(re-find #"^failed to submit task to executor service" (first %)) @errors)))))

;; The server's own threads

(deftest a-full-queue-of-the-default-pool-answers-503
  (let [gate (CountDownLatch. 1), running (atom 0)]
    (wire/with-server [{:keys [port events errors]} (blocking-handler gate running)
                       {:allow-virtual? false :thread 1 :queue-size 1}]
      (with-conns [conns 4 port]
        (wire/send! (first conns) (wire/get-request "/block"))
        (is (wire/eventually #(= 1 @running)))
        (doseq [conn (rest conns)] (wire/send! conn (wire/get-request "/queued")))
        ;; One waits, the others are refused at once, while the only thread is still blocked.
        (is (wire/eventually #(= 2 (count (filter #{"httpkit.server.status.503"} @events)))))
        (.countDown gate)
        (let [answers (mapv wire/answer conns)]
          (is (= {200 2, 503 2} (frequencies (map :status answers))))
          (is (= #{refusal} (set (map as-refusal (filter #(= 503 (:status %)) answers))))))
        (testing "refused connections are still good"
          (doseq [conn conns]
            (wire/send! conn (wire/get-request "/later"))
            (is (= 200 (:status (wire/answer conn)))))))
      (is (= ["failed to submit task to executor service"] (distinct (map first @errors)))))))

(deftest what-threads-are-free-for-does-not-wait-in-the-queue
  (doseq [[about threads] {"idle threads"         {:thread 8}
                           "threads yet to start" {:n-min-threads 1 :n-max-threads 8}}]
    (testing about
      (let [gate (CountDownLatch. 1), running (atom 0)]
        (wire/with-server [{:keys [port events]} (blocking-handler gate running)
                           (merge {:allow-virtual? false :queue-size 1} threads)]
          (with-conns [conns 9 port]
            (doseq [conn conns] (wire/send! conn (wire/get-request "/block")))
            (is (wire/eventually #(= 8 @running)) "and the ninth waits")
            (is (= 503 (:status (wire/fetch port "/block"))) "the tenth is refused")
            (is (wire/eventually #(= 1 (count (filter #{"httpkit.server.status.503"} @events)))))
            (.countDown gate)
            (is (= (repeat 9 200) (mapv (comp :status wire/answer) conns)))))))))

(deftest the-default-pool-grows-with-blocking-handlers
  (let [n 32, gate (CountDownLatch. 1), running (atom 0)]
    (wire/with-server [{:keys [port]} (blocking-handler gate running)
                       {:allow-virtual? false :n-min-threads 2 :n-max-threads n}]
      (with-conns [conns (inc n) port]
        (doseq [conn conns] (wire/send! conn (wire/get-request "/block")))
        (is (wire/eventually #(= n @running)) "all at the same time")
        (is (not (wire/eventually 200 #(< n (long @running)))) "and no more than the maximum")
        (.countDown gate)
        (is (= (repeat (inc n) 200) (mapv (comp :status wire/answer) conns)))))))

(deftest a-fixed-number-of-threads-is-kept-to
  (let [gate (CountDownLatch. 1), running (atom 0)]
    (wire/with-server [{:keys [port]} (blocking-handler gate running) {:allow-virtual? false :thread 3}]
      (with-conns [conns 6 port]
        (doseq [conn conns] (wire/send! conn (wire/get-request "/block")))
        (is (wire/eventually #(= 3 @running)))
        (is (not (wire/eventually 200 #(< 3 (long @running)))))
        (.countDown gate)
        (is (= (repeat 6 200) (mapv (comp :status wire/answer) conns)))))))

(deftest thread-names-are-as-told
  (doseq [[options prefix] [[{} "http-kit-server-worker-"]
                            [{:worker-name-prefix "mine-"} "mine-"]
                            [{:prefix "p-" :worker-name-prefix "q-"} "p-"]
                            [{:pool-opts {:prefix "inner-" :allow-virtual? false} :prefix "outer-"} "inner-"]]]
    (wire/with-server [{:keys [port]} current-thread-name (merge {:allow-virtual? false :thread 1} options)]
      (is (re-matches (re-pattern (str prefix "\\d+")) (:body (wire/fetch port "/"))) options))))

(deftest worker-threads-are-daemons-and-are-not-interrupted
  (wire/with-server [{:keys [port]} (fn [_] {:body (pr-str [(.isDaemon (Thread/currentThread))
                                                             (.isInterrupted (Thread/currentThread))])})
                     {}]
    (is (= "[true false]" (:body (wire/fetch port "/"))))))

(deftest pool-threads-end-with-the-server
  (let [prefix  (str "ending-" (System/nanoTime) "-")
        threads #(filter (fn [^Thread t] (str/starts-with? (.getName t) prefix)) (keys (Thread/getAllStackTraces)))]
    (wire/with-server [{:keys [port]} (constantly {}) {:allow-virtual? false :thread 4 :prefix prefix}]
      (is (= 200 (:status (wire/fetch port "/"))))
      (is (pos? (count (threads)))))
    (is (wire/eventually #(empty? (threads))))))

(deftest one-thread-serves-many-connections-in-turn
  (wire/with-server [{:keys [port]} current-thread-name {:allow-virtual? false :thread 1}]
    (with-conns [conns 20 port]
      (dotimes [_ 5]
        (doseq [conn conns] (wire/send! conn (wire/get-request "/")))
        (is (= #{200} (set (map (comp :status wire/answer) conns))))))))

(deftest two-loops-serve
  (wire/with-server [{:keys [port server]} (fn [{:keys [body]}] {:body (some-> body slurp)}) {:io-threads 2}]
    (let [loops (filter #(re-matches #"server-loop.*" (.getName ^Thread %)) (keys (Thread/getAllStackTraces)))]
      (is (some #{"server-loop-1"} (map #(.getName ^Thread %) loops))))
    (with-conns [conns 40 port]
      (dotimes [round 5]
        (doseq [[i conn] (map-indexed vector conns)
                :let [text (str round "-" i)]]
          (wire/send! conn (str "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " (count text) "\r\n\r\n" text)))
        (is (= (map #(str round "-" %) (range 40)) (map (comp :body wire/answer) conns))))
      (is (true? (deref (server/server-stop! server {:timeout 1000}) wire/patience-ms :late)))
      (is (every? wire/closed? conns)))))

(deftest a-bounded-queue-of-a-users-own-kind
  (let [pool (ThreadPoolExecutor. 2 2 0 TimeUnit/SECONDS (LinkedBlockingQueue.))]
    (wire/with-server [{:keys [port]} (constantly {:body "x"}) {:worker-pool pool}]
      (is (= "x" (:body (wire/fetch port "/"))))
      (is (wire/eventually #(= 1 (.getCompletedTaskCount pool))) "one task per request"))))

;; Virtual threads

(when (utils/have-virtual-threads?)
  (deftest thousands-of-handlers-block-at-the-same-time
    (let [n 2000, gate (CountDownLatch. 1), running (atom 0)]
      (wire/with-server [{:keys [port]} (blocking-handler gate running) {}]
        (with-conns [conns n port]
          (doseq [conn conns] (wire/send! conn (wire/get-request "/block")))
          (is (wire/eventually #(= n @running)))
          (.countDown gate)
          (is (= {200 n} (frequencies (map (comp :status wire/answer) conns))))))))

  (deftest a-virtual-pool-of-ones-own
    (let [pool (.invoke (.getMethod Executors "newVirtualThreadPerTaskExecutor" (make-array Class 0)) nil (object-array 0))]
      (wire/with-server [{:keys [port]} (constantly {:body "x"}) {:worker-pool pool}]
        (is (= ["x" "x"] (repeatedly 2 #(:body (wire/fetch port "/")))))))))
