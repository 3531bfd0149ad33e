(ns httpkit.stop-faults-test
  "A stop has its end whatever fails meanwhile: the pool that it shuts down, or the start of a thread."
  (:require [clojure.edn         :as edn]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.subprocess  :as subprocess]
            [httpkit.wire        :as wire]
            [httpkit.ws-wire     :as ws]
            [org.httpkit.server  :as server])
  (:import (java.lang.reflect Field)
           (java.util AbstractSet Set)
           (java.util.concurrent AbstractExecutorService CountDownLatch ExecutorService Executors ForkJoinPool)
           (java.util.function Consumer)
           (org.httpkit.jni Native NativeLibrary)
           (org.httpkit.server AsyncChannel HttpServer)))

(set! *warn-on-reflection* true)

(defn contained
  "A pool of a container, which alone may shut it down: the methods for that throw."
  [^ExecutorService inner]
  (letfn [(forbidden [] (throw (IllegalStateException. "lifecycle")))]
    (proxy [AbstractExecutorService] []
      (execute [task] (.execute inner task))
      (shutdown [] (forbidden))
      (shutdownNow [] (forbidden))
      (isShutdown [] (forbidden))
      (isTerminated [] (forbidden))
      (awaitTermination [_ _] (forbidden)))))

(defn- with-open-channel
  "Calls `f` with a server on such a pool, a peer of a channel of it, and a promise of that channel's close."
  [f]
  (let [inner  (Executors/newFixedThreadPool 2)
        before (Native/liveHandles)
        closed (promise)
        {:keys [port errors server] :as started}
        (wire/start #(server/as-channel % {:on-open  (fn [ch] (server/send! ch {:status 200 :body ""} false))
                                           :on-close (fn [_ status] (deliver closed status))})
                    {:worker-pool (contained inner)})]
    (try
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/read-head conn))))
        (f started)
        (is (realized? closed)))
      (is (= :stopped (server/server-status server)))
      (is (nil? (server/server-stop! server)))
      (is (= [["shut down the :worker-pool" "lifecycle"]] (map (fn [[message e]] [message (ex-message e)]) @errors)))
      (is (wire/eventually #(= before (Native/liveHandles))) "no handle is left")
      (finally (.shutdown inner)))))

(deftest a-pool-that-cannot-be-shut-down-holds-up-no-stop
  (with-open-channel #(is (true? (wire/stop % 100)))))

(deftest a-pool-that-cannot-be-shut-down-holds-up-no-drain
  (with-open-channel
    #(is (= {:requests 0 :websockets 0 :cut 1}
            (deref (server/server-drain! (:server %) {:timeout 100}) wire/patience-ms :never)))))

;;;; What waits in the pool

(defn- field ^Field [object ^String field-name]
  (let [holders (take-while some? (iterate #(.getSuperclass ^Class %) (class object)))
        found   (some (fn [^Class holder] (try (.getDeclaredField holder field-name)
                                               (catch NoSuchFieldException _)))
                      holders)]
    (doto ^Field found (.setAccessible true))))

(defn value [object field-name]
  (.get (field object field-name) object))

(defn kept
  "How much `owner` knows that its pool has not begun."
  [owner]
  (count (-> owner (value "unbegun") (value "tasks"))))

(defn workers [server]
  (value server "workers"))

(defn- blocked
  "Calls `f` with a server whose pool of one thread is busy until it is interrupted or `f` returns, and with `n`
  WebSockets that were made before that."
  [pool n f]
  (let [gate    (CountDownLatch. 1)
        heard   (atom {})
        opened  (atom [])
        begun   (promise)
        started (wire/start (fn [{:keys [uri websocket?] :as req}]
                              (cond
                                websocket?       (server/as-channel req
                                                   {:on-open    #(swap! opened conj %)
                                                    :on-receive (fn [ch message]
                                                                  (when (= "wait" message) (.await gate))
                                                                  (swap! heard update ch (fnil conj []) message))
                                                    :on-close   (fn [ch _] (swap! heard update ch (fnil conj []) :closed))})
                                (= "/block" uri) (do (deliver begun true) (.await gate) {:body "late"})
                                :else            {:body "ok"}))
                            {:worker-pool pool})
        webs    (vec (repeatedly n #(ws/connect (:port started) wire/patience-ms)))]
    (try
      (is (wire/eventually #(= n (count @opened))))
      (with-open [conn (wire/connect (:port started))]
        (wire/send! conn (wire/get-request "/block"))
        (is (deref begun wire/patience-ms false))
        (f (assoc started :webs webs :opened @opened :heard heard)))
      (finally
        (.countDown gate)
        (wire/stop started)
        (run! ws/disconnect webs)))))

(deftest a-stop-answers-requests-and-runs-close-handlers-that-wait-in-the-users-pool
  (doseq [[about ^ExecutorService inner wrap] [["a queue" (Executors/newFixedThreadPool 1) identity]
                                               ["a pool that does not name what it drops" (ForkJoinPool. 1) identity]
                                               ["a pool of a container" (Executors/newFixedThreadPool 1) contained]]]
    (testing about
      (blocked (wrap inner) 3
        (fn [{:keys [port server webs opened heard] :as started}]
          (let [flushed (promise)]
            (ws/send! (first webs) [[:text "a"] [:text "b"]] nil)
            (.whenFlushed ^AsyncChannel (first opened) (reify Consumer (accept [_ written] (deliver flushed written))))
            (with-open [conn (wire/connect port)]
              (wire/send! conn (wire/get-request "/"))
              (is (wire/eventually #(= 3 (kept (workers server)))))
              (is (true? (wire/stop started 300)))
              (is (= [503 "Server unavailable, please try again"] ((juxt :status :body) (wire/answer conn)))))
            (is (= (repeat 3 [:closed]) (map @heard opened)))
            (is (true? (deref flushed wire/patience-ms :never))))))
      (.shutdown inner))))

(deftest messages-that-wait-keep-no-close-handler-from-running
  (let [inner (Executors/newFixedThreadPool 1)]
    (blocked inner 300
      (fn [{:keys [server webs opened heard] :as started}]
        (doseq [web webs] (ws/send! web [[:text "wait"]] nil))
        (is (wire/eventually #(= 300 (kept (workers server)))))
        (is (true? (wire/stop started 100)))
        (is (wire/eventually #(= {[:closed] 300} (frequencies (map @heard opened)))))))))

(defn- with-busy-container
  "Calls `f` with a server on a container's pool of one thread, which runs a callback until `gate` opens, while a
  message waits for it; `heard` gets messages and the names of their threads, and closes."
  [f]
  (let [inner   (Executors/newFixedThreadPool 1)
        gate    (CountDownLatch. 1)
        opened  (atom 0)
        heard   (atom [])
        started (wire/start #(server/as-channel %
                               {:on-open    (fn [_] (swap! opened inc))
                                :on-receive (fn [_ message]
                                              (swap! heard conj [message (.getName (Thread/currentThread))])
                                              (when (= "busy" message) (.await gate)))
                                :on-close   (fn [_ _] (swap! heard conj :closed))})
                            {:worker-pool (contained inner)})
        webs    (vec (repeatedly 2 #(ws/connect (:port started) wire/patience-ms)))]
    (try
      (is (wire/eventually #(= 2 @opened)))
      (ws/send! (webs 0) [[:text "busy"]] nil)
      (is (wire/eventually #(seq @heard)))
      (ws/send! (webs 1) [[:text "queued"]] nil)
      (is (wire/eventually #(= 1 (kept (workers (:server started))))))
      (f (assoc started :gate gate :heard heard :pool-thread (second (first @heard))))
      (finally
        (.countDown gate)
        (wire/stop started)
        (run! ws/disconnect webs)
        (.shutdown inner)))))

(deftest a-pool-that-cannot-be-shut-down-begins-what-waits-in-it-while-the-stop-has-time
  (with-busy-container
    (fn [{:keys [errors heard ^CountDownLatch gate pool-thread] :as started}]
      (let [stopped (future (wire/stop started (* 2 wire/patience-ms)))]
        (is (wire/eventually #(seq @errors)) "the pool has thrown")
        (.countDown gate)
        (is (true? @stopped) "long before its time is over")
        (is (wire/eventually #(= {["queued" pool-thread] 1, :closed 2} (frequencies (rest @heard)))))))))

(deftest a-stop-waits-for-such-a-pool-until-its-time-is-over-or-it-is-interrupted
  (doseq [[timeout interrupted?] [[300 false] [(* 2 wire/patience-ms) true]]]
    (with-busy-container
      (fn [{:keys [^HttpServer server errors heard]}]
        (let [result (promise)
              stop   (Thread. #(do (.stop server (int timeout)) (deliver result (Thread/interrupted))))]
          (.start stop)
          (when interrupted?
            (is (wire/eventually #(seq @errors)) "the pool has thrown")
            (.interrupt stop))
          (is (= interrupted? (deref result wire/patience-ms :late)))
          (is (wire/eventually #(= [:closed :closed] (rest @heard)))))))))

(deftest a-task-for-which-there-is-no-memory-is-refused
  (wire/with-server [{:keys [port server]} (fn [_] {:body "ok"}) {:worker-pool (Executors/newFixedThreadPool 1)}]
    (let [unbegun (value (workers server) "unbegun")
          tasks   ^Set (value unbegun "tasks")]
      (.set (field unbegun "tasks") unbegun
            (proxy [AbstractSet] []
              (add [_] (throw (OutOfMemoryError. "injected")))
              (remove [task] (.remove tasks task))
              (iterator [] (.iterator tasks))
              (size [] (.size tasks))))
      (is (= 503 (:status (wire/fetch port "/"))))
      (.set (field unbegun "tasks") unbegun tasks)
      (is (= 200 (:status (wire/fetch port "/")))))))

(def ^:private jvm-args
  (conj subprocess/native-access (str "-Dhttp-kit.native.path=" (get (NativeLibrary/info) "file"))))

(deftest the-jvm-ends-though-the-pool-of-its-server-cannot-be-shut-down
  (let [{:keys [exit out]}
        (subprocess/run
          "(require '[httpkit.stop-faults-test :as faults] '[org.httpkit.server :as server])
           (let [inner (java.util.concurrent.Executors/newFixedThreadPool 1)
                 s     (server/run-server (fn [_]) {:port 0 :ip \"127.0.0.1\" :legacy-return-value? false
                                                    :worker-pool (faults/contained inner) :error-logger (fn [_ _])})]
             (println @(server/server-stop! s))
             (.shutdown inner))
           (shutdown-agents)"
          :jvm-args jvm-args)]
    (is (= {:exit 0 :out "true"} {:exit exit :out out}))))

;;;; No thread can be started

(defn- without-threads
  "What `script` prints last: it has `scarcity`, `server`, `wire`, and `run` to start a server with options."
  [script]
  (let [{:keys [out]}
        (subprocess/run
          (pr-str (list 'do
                        '(require '[httpkit.scarcity :as scarcity] '[httpkit.wire :as wire] '[org.httpkit.server :as server])
                        '(import '[org.httpkit.jni Native] '[java.util.concurrent AbstractExecutorService Executors])
                        (list 'letfn ['(run [handler options]
                                         (server/run-server handler
                                           (merge {:port 0 :ip "127.0.0.1" :legacy-return-value? false
                                                   :error-logger (fn [_ _])} options)))
                                      '(pool [] (doto (Executors/newFixedThreadPool 1) .prestartAllCoreThreads))
                                      '(ended [stopped] (deref stopped 10000 :never))]
                              ;; Once without effect: what runs for the first time loads classes.
                              '(deref (server/server-stop! (run (fn [_] {:body "ok"}) {})))
                              script)
                        '(flush)
                        '(System/exit 0)))
          :jvm-args (into ["-Xss64m" "-Xmx256m" "-XX:+UseSerialGC" "-Xlog:disable"] jvm-args))]
    (try (edn/read-string (last (str/split-lines out)))
         (catch RuntimeException _ out))))

(deftest a-stop-needs-no-thread
  (is (= {:stopped (repeat 6 true) :statuses (repeat 6 :stopped) :handles 0}
         (without-threads
           '(let [handles (Native/liveHandles)
                  servers (mapv #(run (fn [_] {:body "ok"}) %)
                                [{} {} {:allow-virtual? false} {:allow-virtual? false}
                                 {:worker-pool (pool)} {:worker-pool (pool)}])
                  stops   (scarcity/with-threads-taken
                            (fn [] (mapv #(ended (server/server-stop! % {:timeout 100})) servers)))]
              (prn {:stopped stops :statuses (mapv server/server-status servers)
                    :handles (- (Native/liveHandles) handles)}))))))

(deftest a-stop-on-a-loop-needs-no-thread
  (is (true?
        (without-threads
           '(let [caller  (proxy [AbstractExecutorService] []
                            (execute [task] (.run ^Runnable task))
                            (shutdown []) (shutdownNow [] []) (isShutdown [] false) (isTerminated [] true)
                            (awaitTermination [_ _] true))
                  self    (promise)
                  stopped (promise)
                  s       (run (fn [_] (deliver stopped (server/server-stop! @self {:timeout 0})) {:body "ok"})
                            {:worker-pool caller})]
              (deliver self s)
              (scarcity/with-threads-taken
                (fn []
                  (wire/fetch (server/server-port s) "/")
                  (prn (ended (deref stopped 10000 (promise)))))))))))

(deftest a-server-that-finds-no-thread-leaves-its-port-and-says-why
  (is (= {:thrown [IllegalStateException OutOfMemoryError] :served [200 200] :handles 0}
         (-> (without-threads
               '(let [attempt (fn [options] (try (run (fn [_] {:body "ok"}) options) (catch Throwable e (class e))))
                      handles (Native/liveHandles)
                      ports   (repeatedly 2 #(with-open [s (java.net.ServerSocket. 0)] (.getLocalPort s)))
                      options (mapv #(assoc %1 :port %2) [{} {:worker-pool (delay (pool))}] ports)
                      _       (run! #(force (:worker-pool %)) options)
                      thrown  (scarcity/with-threads-taken #(mapv attempt options))
                      left    (- (Native/liveHandles) handles)
                      served  (mapv #(let [s (run (fn [_] {:body "ok"}) (assoc % :worker-pool (pool)))
                                           status (:status (wire/fetch (server/server-port s) "/"))]
                                       (ended (server/server-stop! s))
                                       status)
                                options)]
                  (prn {:thrown (mapv str thrown) :served served :handles left})))
             (update :thrown (partial mapv #(resolve (symbol (last (str/split % #" "))))))))))
