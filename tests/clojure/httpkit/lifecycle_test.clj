(ns httpkit.lifecycle-test
  "Starting and stopping, step by step; several servers; whole processes; another class loader."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.keep-alive :as keep-alive]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.net URL URLClassLoader)
           (java.util.concurrent CountDownLatch ExecutorService Executors)
           (org.httpkit.jni Native)
           (org.httpkit.server HttpServer)))

(set! *warn-on-reflection* true)

(defn- field-of [object field]
  (.get (doto (.getDeclaredField (class object) field) (.setAccessible true)) object))

(defn- loops-of [server] (seq (field-of (field-of server "loops") "threads")))

(defn- stop-later
  "Starts the stop on a thread of its own; a future of the promise."
  [{:keys [server]} timeout]
  (future (server/server-stop! server {:timeout timeout})))

(defn- stopped?
  "Waits for the promise that `stop-later`'s future holds."
  [stopping]
  (true? (deref (deref stopping wire/patience-ms (promise)) wire/patience-ms :late)))

(defn- refused? [port]
  (try (.close (wire/connect port)) false
       (catch java.net.ConnectException _ true)))

(defn- stopping? [{:keys [server]}]
  (wire/eventually #(= :stopping (server/server-status server))))

(defn- two-pools
  "Runs `f` with options for the server's own threads and for a user's pool."
  [f]
  (doseq [[about options] {"own threads"   {:allow-virtual? false :thread 4}
                           "default"       {}
                           "a user's pool" {:worker-pool (delay (Executors/newFixedThreadPool 4))}}]
    (testing about (f options))))

(deftest a-server-prints-its-address-port-state-and-counts
  (wire/with-server [{:keys [port ^HttpServer server] :as started}
                     #(server/as-channel % {:on-open (fn [ch] (server/send! ch "x" false))}) {}]
    (let [shown (fn [state counts] (str "org.httpkit.server.HttpServer[127.0.0.1:" port ", " state ", " counts "]"))]
      (is (= (shown "running" "connections 0, channels 0") (str server)))
      (with-open [conn  (wire/connect port)
                  idle  (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/read-head conn))))
        (is (wire/eventually #(= (shown "running" "connections 2, channels 1") (str server)))))
      (is (wire/eventually #(= (shown "running" "connections 0, channels 0") (str server))))
      (wire/stop started)
      (is (= (shown "stopped" "connections 0, channels 0") (str server))))))

(deftest an-idle-server-stops-at-once-and-frees-its-port
  (two-pools
    (fn [options]
      (let [{:keys [port server] :as started} (wire/start (constantly {}) options)]
        (is (= :running (server/server-status server)))
        (let [start (System/nanoTime)]
          (is (true? (deref (server/server-stop! server {:timeout 20000}) wire/patience-ms :late)))
          (is (< (/ (- (System/nanoTime) start) 1e9) 10) "a generous timeout is not waited for"))
        (is (= :stopped (server/server-status server)) "set before the promise is delivered")
        (is (= port (server/server-port server)) "still answers")
        (is (nil? (server/server-stop! server)) "a second time: not running")
        (is (refused? port))
        (is (not (.isAlive ^HttpServer server)))
        (is (nil? (server/server-join server)))
        (testing "the port can be taken again at once"
          (wire/with-server [again (constantly {:body "again"}) {:port port}]
            (is (= "again" (:body (wire/fetch (:port again) "/"))))))
        (testing "the stopped server cannot be started again, and says so"
          (is (false? (.start ^HttpServer (:server started)))))))))

(deftest idle-connections-are-closed-soon-while-running-requests-get-time
  (two-pools
    (fn [options]
      (let [gate    (CountDownLatch. 1)
            running (atom 0)
            ws-code (promise)
            {:keys [port] :as started}
            (wire/start (fn [{:keys [uri websocket?] :as req}]
                          (cond
                            websocket? (server/as-channel req {:on-close (fn [_ status] (deliver ws-code status))})
                            (= "/block" uri) (do (swap! running inc) (.await gate) {:body "done"})
                            :else {:body "quick"}))
                        options)]
        (with-open [idle   (wire/connect port)
                    busy   (wire/connect port)
                    ws     (wire/websocket port)]
          (wire/send! idle (wire/get-request "/"))
          (is (= "quick" (:body (wire/answer idle))))
          (wire/send! busy (wire/get-request "/block"))
          (is (wire/eventually #(= 1 @running)))
          (is (= 101 (:status (wire/read-head ws))))
          (let [stopping (stop-later started 20000)]
            (is (stopping? started))
            (is (wire/closed? idle) "while the other request still runs")
            (testing "a WebSocket gets 1001, then the end"
              (is (= [0x88 0x02 0x03 0xe9] (repeatedly 4 #(wire/read-byte ws))))
              (wire/send! ws (byte-array [0x88 0x82 0 0 0 0 0x03 0xe9]))
              (is (wire/closed? ws))
              (is (= :server-close (deref ws-code wire/patience-ms :never))))
            (is (wire/eventually #(refused? port)) "no new connections")
            (testing "a pipelined request is answered, unless the response before has said that it will not be"
              (wire/send! busy (wire/get-request "/later"))
              (.countDown gate)
              (let [{:keys [status headers body]} (wire/answer busy)]
                (is (= [200 "done"] [status body]))
                (when-not (= "Close" (headers "connection"))
                  (let [{:keys [status headers body]} (wire/answer busy)]
                    (is (= [200 "quick" "Close"] [status body (headers "connection")]))))))
            (is (wire/closed? busy))
            (is (stopped? stopping))))))))

(deftest requests-on-open-connections-are-served-until-the-time-of-a-stop-is-over
  (two-pools
    (fn [options]
      (let [gate    (CountDownLatch. 1)
            running (atom 0)
            {:keys [port warnings errors] :as started}
            (wire/start (fn [_] (swap! running inc) (.await gate) {:body "done"}) options)]
        (with-open [held (wire/connect port)
                    half (wire/connect port)]
          (wire/send! held (wire/get-request "/"))
          (is (wire/eventually #(= 1 @running)))
          ;; Half a request is not idle: it survives the first step.
          (wire/send! half "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
          (is (= 100 (:status (wire/answer half))) "the server has it")
          (let [stopping (stop-later started 20000)]
            (is (stopping? started))
            (is (wire/silent? half 100))
            (wire/send! half "x")
            (is (wire/eventually #(= 2 @running)))
            (.countDown gate)
            (doseq [conn [held half]]
              (is (= [200 "done" "Close"]
                     ((juxt :status :body #(get-in % [:headers "connection"])) (wire/answer conn))))
              (is (wire/closed? conn)))
            (is (stopped? stopping))
            (is (= [[] []] [@warnings @errors]))))))))

(deftest what-waits-when-the-time-of-a-stop-is-over-gets-503-and-one-line-in-the-log
  (let [running (atom 0)
        {:keys [port warnings errors events] :as started}
        (wire/start (fn [_] (swap! running inc) (Thread/sleep 60000)) {:allow-virtual? false :thread 1})
        conns   (vec (repeatedly 4 #(wire/connect port)))]
    (try
      (wire/send! (first conns) (wire/get-request "/"))
      (is (wire/eventually #(= 1 @running)))
      (doseq [conn (rest conns)] (wire/send! conn (wire/get-request "/waits")))
      (let [stopping (stop-later started 500)]
        (doseq [conn (rest conns)]
          (is (= [503 "Close"] ((juxt :status #(get-in % [:headers "connection"])) (wire/answer conn)))))
        (is (stopped? stopping)))
      (is (wire/eventually #(= 3 (count (filter #{"httpkit.server.status.503"} @events)))))
      (is (= [["the server is stopping: further requests get 503" nil]] @warnings))
      (is (= [] (filter #(= "failed to submit task to executor service" (first %)) @errors)))
      (finally (run! #(.close ^java.io.Closeable %) conns)))))

(deftest a-rolling-restart-behind-keep-alive-connections-loses-no-request
  (doseq [[about handler options]
          [["own threads"   (fn [_] (Thread/sleep 1) {:body "done"}) {:allow-virtual? false :thread 4}]
           ["default"       (fn [_] {:body "done"}) {}]
           ["a user's pool" (fn [_] {:body "done"}) {:worker-pool (delay (Executors/newFixedThreadPool 4))}]
           ["ring-async"    (fn [_ respond _] (future (Thread/sleep 1) (respond {:body "done"}))) {:ring-async? true}]
           ["a channel"     (fn [req] (server/as-channel req {:on-open #(do (server/send! % "do" false)
                                                                            (server/send! % "ne"))}))
                            {}]]]
    (testing about
      (wire/with-server [next-one (constantly {:body "done"}) {}]
        (let [{:keys [port warnings errors] :as started} (wire/start handler options)
              over?   (atom false)
              clients (keep-alive/clients 8 [port (:port next-one)] over?)]
          (is (= true (wire/stop started 10000)))
          (reset! over? true)
          (let [served (mapv #(deref % wire/patience-ms :hangs) clients)]
            (doseq [one served]
              (is (every? pos-int? (map (if (map? one) one {}) [port (:port next-one)])) (pr-str one)))
            ;; All of them connect again while the listener closes: unless its backlog is accepted, several are reset.
            (is (>= (if (= "Linux" (System/getProperty "os.name")) 0 2)
                    (reduce + (keep :reset (filter map? served))))
                (pr-str served)))
          (is (= [[] []] [@warnings @errors])))))))

(deftest handlers-that-take-too-long-are-interrupted
  (two-pools
    (fn [options]
      (let [seen (promise)
            started (wire/start (fn [{:keys [uri]}]
                                  (deliver seen uri)
                                  (try (Thread/sleep 60000)
                                       {:body "slept"}
                                       (catch InterruptedException _ {:body "interrupted"})))
                                options)]
        (with-open [conn (wire/connect (:port started))]
          (wire/send! conn (wire/get-request "/"))
          (is (= "/" (deref seen wire/patience-ms nil)))
          (let [start (System/nanoTime)]
            (is (true? (deref (server/server-stop! (:server started) {:timeout 100}) wire/patience-ms :late)))
            (is (< 0.09 (/ (- (System/nanoTime) start) 1e9) 20) "not before its time, and not much later"))
          ;; Its answer may still get out.
          (is (contains? #{"interrupted" nil} (:body (wire/answer conn)))))))))

;; It would never hear of the interrupt, and go on in a server that is gone.
(deftest nothing-that-waits-begins-after-the-interrupt
  (dotimes [round 100]
    (let [running (atom 0)
          gate    (CountDownLatch. 1)
          started (wire/start (fn [_]
                                (swap! running inc)
                                (try (.await gate) (catch InterruptedException _))
                                (swap! running dec)
                                {:body "interrupted"})
                              {:allow-virtual? false :thread 1})
          conns   (vec (repeatedly 4 #(wire/connect (:port started))))]
      (try
        (doseq [conn conns] (wire/send! conn (wire/get-request "/")))
        (is (wire/eventually #(= 1 @running)))
        (is (true? (deref (server/server-stop! (:server started) {:timeout (mod round 3)}) wire/patience-ms :late)))
        (is (wire/eventually #(zero? @running)) (str "round " round))
        (finally
          (.countDown gate)
          (run! #(.close ^java.io.Closeable %) conns))))))

(deftest handlers-that-ignore-interrupts-do-not-hold-up-the-stop
  (two-pools
    (fn [options]
      (let [gate (CountDownLatch. 1), running (atom 0)
            started (wire/start (fn [_]
                                  (swap! running inc)
                                  (loop []
                                    (when-not (try (.await gate) true (catch InterruptedException _ false)) (recur)))
                                  {:body "late"})
                                options)]
        (with-open [conn (wire/connect (:port started))]
          (wire/send! conn (wire/get-request "/"))
          (is (wire/eventually #(= 1 @running)))
          (is (true? (deref (server/server-stop! (:server started) {:timeout 50}) wire/patience-ms :late)))
          (is (wire/closed? conn) "its connection was cut")
          (.countDown gate)
          (is (refused? (:port started))))))))

(deftest hanging-exchanges-are-cut-at-the-end
  (let [causes  (atom {})
        opened  (CountDownLatch. 2)
        started (wire/start (fn [{:keys [uri] :as req}]
                              (server/as-channel req {:on-open  (fn [ch]
                                                                  (when (= "/stream" uri) (server/send! ch "piece" false))
                                                                  (.countDown opened))
                                                      :on-close (fn [_ status] (swap! causes assoc uri status))}))
                            {})]
    (with-open [held   (wire/connect (:port started))
                stream (wire/connect (:port started))
                half   (wire/connect (:port started))
                unused (wire/connect (:port started))]
      (wire/send! held (wire/get-request "/held"))
      (wire/send! stream (wire/get-request "/stream"))
      (wire/send! half "GET / HT")
      (.await opened)
      (is (= 200 (:status (wire/read-head stream))))
      (let [start (System/nanoTime)]
        (is (= true (wire/stop started 20000)))
        (is (< (/ (- (System/nanoTime) start) 1e9) 10) "unanswered channels are not waited for"))
      (is (= ["piece" :truncated] (wire/read-chunks stream)) "no final chunk that would make it look complete")
      (is (every? wire/closed? [held half unused]))
      (is (wire/eventually #(= {"/held" :client-close "/stream" :client-close} @causes))))))

(deftest callbacks-of-what-a-stop-closes-have-run-when-it-returns
  (two-pools
    (fn [options]
      (let [n       20
            closed  (atom 0)
            opened  (CountDownLatch. n)
            started (wire/start (fn [req]
                                  (server/as-channel req {:on-open  (fn [_] (.countDown opened))
                                                          :on-close (fn [_ _] (Thread/sleep 20) (swap! closed inc))}))
                                options)
            conns   (doall (repeatedly n #(doto (wire/connect (:port started))
                                            (wire/send! (wire/get-request "/")))))]
        (.await opened)
        (server/server-stop! (:server started) {:timeout 100})
        (is (= n @closed))
        (run! #(.close ^java.io.Closeable %) conns)))))

(deftest a-callback-that-hangs-does-not-hold-up-the-stop
  (let [gate    (CountDownLatch. 1)
        opened  (promise)
        started (wire/start (fn [req]
                              (server/as-channel req {:on-open  (fn [_] (deliver opened true))
                                                      :on-close (fn [_ _] (.await gate))}))
                            {})]
    (with-open [conn (wire/connect (:port started))]
      (wire/send! conn (wire/get-request "/"))
      (is (true? (deref opened wire/patience-ms :late)))
      (is (= true (wire/stop started 0)))
      (is (refused? (:port started))))
    (.countDown gate)))

(deftest answers-that-are-still-being-read-get-the-time-of-the-stop
  (doseq [lines [[] [["Connection" "close"]]]]
    (two-pools
      (fn [options]
        (let [size    20000000
              started (wire/start (fn [_] {:body (byte-array size)}) options)]
          (with-open [conn (wire/connect (:port started))]
            (wire/send! conn (apply wire/get-request "/" lines))
            (is (= 200 (:status (wire/read-head conn))))
            (let [stopping (stop-later started 20000)]
              (is (stopping? started))
              (Thread/sleep 200) ; What is unsent must outlive the worker that made it.
              (is (= size (count (wire/read-exactly conn size))) (str lines))
              (is (stopped? stopping)))))))))

(deftest peers-that-do-not-read-do-not-hold-up-the-stop-for-longer
  (let [started (wire/start (fn [_] {:body (byte-array 20000000)}) {})]
    (with-open [conn (wire/connect (:port started))]
      (wire/send! conn (wire/get-request "/"))
      (is (= 200 (:status (wire/read-head conn))))
      (is (= true (wire/stop started 200)))
      (is (refused? (:port started))))))

(deftest timeouts-of-the-stop
  (testing "nil is refused"
    (let [{:keys [server] :as started} (wire/start (constantly {}) {})]
      (is (thrown? NullPointerException (server/server-stop! server {:timeout nil})))
      (is (= true (wire/stop started)))))
  (testing "zero and less interrupt at once"
    (doseq [timeout [0 -1]]
      (let [running (promise)
            started (wire/start (fn [_] (deliver running true) (Thread/sleep 60000)) {})]
        (with-open [conn (wire/connect (:port started))]
          (wire/send! conn (wire/get-request "/"))
          (deref running wire/patience-ms nil)
          (is (= true (wire/stop started timeout))))))))

(deftest only-one-of-many-stops-wins
  (let [{:keys [server]} (wire/start (constantly {}) {})
        results (map deref (doall (repeatedly 8 #(future (server/server-stop! server {:timeout 100})))))]
    (is (= 1 (count (filter some? results))))
    (is (true? (deref (first (filter some? results)) wire/patience-ms :late)))))

(deftest a-handler-may-stop-its-own-server
  (doseq [[about options] {"own threads" {:allow-virtual? false} "default" {}}]
    (testing about
      (let [server  (promise)
            done    (promise)
            started (wire/start (fn [_] (deliver done (server/server-stop! @server {:timeout 100})) {:body "stopped"}) options)]
        (deliver server (:server started))
        (with-open [conn (wire/connect (:port started))]
          (wire/send! conn (wire/get-request "/"))
          (is (true? (deref (deref done wire/patience-ms (promise)) wire/patience-ms :late))))
        (is (refused? (:port started)))))))

(deftest stopping-with-work-in-flight-leaves-nothing-behind
  (two-pools
    (fn [options]
      (let [before (Native/liveHandles)]
        (dotimes [_ 5]
          (let [started (wire/start (fn [_] (Thread/sleep 2) {:body "x"}) (if (:worker-pool options)
                                                                           {:worker-pool (Executors/newFixedThreadPool 4)}
                                                                           options))
                talking (doall (repeatedly 6 #(future
                                                (try
                                                  (with-open [conn (wire/connect (:port started))]
                                                    (loop [n 0]
                                                      (wire/send! conn (wire/get-request "/"))
                                                      (let [answer (wire/answer conn)]
                                                        (if (#{200 503} (:status answer)) (recur (inc n)) :closed))))
                                                  (catch clojure.lang.ExceptionInfo _ :truncated)
                                                  (catch java.io.IOException _ :refused)))))]
            (Thread/sleep 60)
            (is (= true (wire/stop started 50)))
            (is (every? #{:closed :refused :truncated} (map #(deref % wire/patience-ms :hangs) talking)))))
        (is (wire/eventually #(= before (Native/liveHandles))) "no handle is left")))))

(deftest servers-in-one-jvm-do-not-know-of-each-other
  (wire/with-server [one (constantly {:body "one"}) {}]
    (wire/with-server [two (constantly {:body "two"}) {:io-threads 2}]
      (is (= ["one" "two"] (map #(:body (wire/fetch (:port %) "/")) [one two])))
      (is (= true (wire/stop one)))
      (is (= "two" (:body (wire/fetch (:port two) "/"))))
      (wire/with-server [three (constantly {:body "three"}) {:port (:port one)}]
        (is (= ["three" "two"] (map #(:body (wire/fetch (:port %) "/")) [three two])))))))

(deftest many-starts-and-stops-leave-nothing-behind
  (let [descriptors #(count (.list (io/file "/proc/self/fd")))
        threads     #(count (filter (fn [^Thread t] (re-find #"^(server-|http-kit-server-worker)" (.getName t)))
                                    (keys (Thread/getAllStackTraces))))
        once        #(wire/with-server [{:keys [port]} (constantly {:body "x"}) {}]
                       (is (= "x" (:body (wire/fetch port "/")))))
        _           (dotimes [_ 3] (once))
        before      [(Native/liveHandles) (descriptors)]]
    (dotimes [_ 30] (once))
    (is (wire/eventually #(and (= (first before) (Native/liveHandles)) (<= (descriptors) (second before))))
      [before (Native/liveHandles) (descriptors)])
    (is (wire/eventually #(zero? (threads))))))

;; Whole processes

(def ^:private jvm-args
  "The native library that we run with, and access to it."
  (cond-> subprocess/native-access
    (System/getProperty "http-kit.native.path")
    (conj (str "-Dhttp-kit.native.path=" (System/getProperty "http-kit.native.path")))))

(deftest the-loop-is-a-daemon-iff-its-starter-is
  (let [daemons (fn [daemon?]
                  (let [flag (promise)]
                    (doto (Thread. ^Runnable (fn []
                                               (let [started (wire/start (constantly {}) {})]
                                                 (deliver flag (set (map #(.isDaemon ^Thread %) (loops-of (:server started)))))
                                                 (wire/stop started))))
                      (.setDaemon daemon?)
                      (.start))
                    (deref flag wire/patience-ms :late)))]
    (is (= #{true} (daemons true)))
    (is (= #{false} (daemons false)))))

(defn- line-of
  "The next line of the process."
  [^java.io.BufferedReader reader]
  (deref (future (.readLine reader)) wire/patience-ms :late))

(deftest a-main-that-only-starts-a-server-keeps-the-jvm-alive
  (let [process (subprocess/start
                  "(require '[org.httpkit.server :as server])
                   (println (:local-port (meta (server/run-server (fn [_] {:body \"alive\"}) {:port 0 :ip \"127.0.0.1\"}))))
                   (flush)"
                  :jvm-args jvm-args)]
    (try
      (with-open [out (io/reader (.getInputStream process))]
        (let [port (Long/parseLong (line-of out))]
          ;; The main thread has nothing left to do.
          (Thread/sleep 500)
          (is (.isAlive process))
          (is (= "alive" (:body (wire/fetch port "/"))))))
      (finally (.destroyForcibly process)))))

(deftest a-server-started-by-a-daemon-does-not-keep-the-jvm-alive
  (is (= {:exit 0 :out "started"}
         (subprocess/run
           "(require '[org.httpkit.server :as server])
            (let [done (promise)]
              (doto (Thread. (fn [] (server/run-server (fn [_]) {:port 0 :ip \"127.0.0.1\"}) (deliver done true)))
                (.setDaemon true) (.start))
              @done
              (println \"started\"))
            (shutdown-agents)"
           :jvm-args jvm-args))))

(deftest the-jvm-ends-when-its-last-server-is-stopped
  (is (= {:exit 0 :out "true"}
         (subprocess/run
           "(require '[org.httpkit.server :as server])
            (let [s (server/run-server (fn [_]) {:port 0 :ip \"127.0.0.1\" :legacy-return-value? false})]
              (println @(server/server-stop! s)))
            (shutdown-agents)"
           :jvm-args jvm-args))))

(deftest exiting-with-open-connections-is-clean
  (let [process (subprocess/start
                  "(require '[org.httpkit.server :as server])
                   (println (:local-port (meta (server/run-server
                                                 (fn [req] (server/as-channel req {:on-open (fn [ch] (server/send! ch \"x\" false))}))
                                                 {:port 0 :ip \"127.0.0.1\"}))))
                   (flush)
                   (do (read-line) (System/exit 7))"
                  :jvm-args jvm-args)]
    (with-open [out (io/reader (.getInputStream process))]
      (let [port (Long/parseLong (line-of out))]
        (with-open [conn (wire/connect port)
                    _    (wire/connect port)]
          (wire/send! conn (wire/get-request "/"))
          (is (= 200 (:status (wire/read-head conn))))
          (with-open [in (io/writer (.getOutputStream process))] (.write in "\n"))
          (is (.waitFor process 20 java.util.concurrent.TimeUnit/SECONDS))
          (is (= 7 (.exitValue process)) "neither a crash nor a hang")
          (is (= "" (str/trim (slurp out)))))))))

;; Another class loader

(def ^:private other-loader-script
  "(fn []
     (require 'org.httpkit.server)
     (let [run  (resolve 'org.httpkit.server/run-server)
           stop (run (fn [_] {:status 200 :body \"other loader\"}) {:port 0 :ip \"127.0.0.1\"})]
       [(:local-port (meta stop)) stop]))")

(deftest a-server-of-another-class-loader-lives-beside-ours
  (let [urls   (into-array URL (map #(.toURL (.toURI (io/file ^String %)))
                                    (str/split (System/getProperty "java.class.path") #":")))
        before (Native/liveHandles)
        thread (Thread/currentThread)
        outer  (.getContextClassLoader thread)]
    (with-open [loader (URLClassLoader. urls (ClassLoader/getPlatformClassLoader))]
      (try
        ;; The second copy of Clojure loads our sources through this loader.
        (.setContextClassLoader thread loader)
        (let [clojure (Class/forName "clojure.java.api.Clojure" true loader)
              var     (.getMethod clojure "var" (into-array Class [Object Object]))
              call    (fn [f & args]
                        (.invoke (.getMethod (Class/forName "clojure.lang.IFn" true loader) "invoke"
                                             (into-array Class (repeat (count args) Object)))
                                 f (object-array args)))
              start   (call (.invoke var nil (object-array ["clojure.core" "load-string"])) other-loader-script)
              started (call start)
              port    (int (call started (int 0)))
              stop    (call started (int 1))]
          (is (= "other loader" (:body (wire/fetch port "/"))))
          (wire/with-server [ours (constantly {:body "ours"}) {}]
            (is (= ["ours" "other loader"] [(:body (wire/fetch (:port ours) "/")) (:body (wire/fetch port "/"))])))
          (call stop)
          (is (wire/eventually #(refused? port))))
        (finally (.setContextClassLoader thread outer))))
    (is (= before (Native/liveHandles)))))
