(ns httpkit.worker-life-test
  "Worker threads outlive whatever goes wrong, and there are as many of them as are needed."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.modes      :as modes]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.server :as server])
  (:import (java.net Socket SocketTimeoutException)
           (java.util.concurrent CountDownLatch Executors)))

(set! *warn-on-reflection* true)

(defn- outcome
  "Status of the response on an open connection, `:closed`, or `:silent` after 10 seconds."
  [conn]
  (.setSoTimeout ^Socket (:socket conn) 10000)
  (try
    (let [answer (wire/answer conn)] (:status answer answer))
    (catch SocketTimeoutException _ :silent)
    (catch clojure.lang.ExceptionInfo _ :truncated)))

(defn- outcomes
  "Of requests for `path` on `n` connections at the same time."
  [port n path]
  (let [conns (vec (repeatedly n #(wire/connect port)))]
    (try
      (doseq [conn conns] (wire/send! conn (wire/get-request path)))
      (mapv outcome conns)
      (finally (run! (fn [^java.io.Closeable c] (.close c)) conns)))))

(defn- all-threads-serve [{:keys [port threads]}]
  (is (= (repeat threads 200) (outcomes port threads (if (= 1 threads) "/" "/meet"))) "all threads are there"))

;;;; Loggers that fail

(defn- websocket-bears-failures [port]
  (let [conn (ws/connect port 10000)]
    (try
      (ws/send! conn [[:text "fail"] [:text "fail"] [:text "hello"]] nil)
      (is (= [:text "hello"] (ws/receive! conn)) "the WebSocket goes on")
      (finally (ws/disconnect conn)))))

(deftest loggers-that-throw-cost-no-thread-and-no-response
  (let [preallocated (OutOfMemoryError. "one for all")
        loggers {"what they are given" {:error-logger (fn [_ e] (throw e))
                                        :warn-logger  (fn [_ e] (throw (or e preallocated)))
                                        :event-logger (fn [_] (throw preallocated))}
                 "without end"         (let [deep (fn deep [& _] (inc (long (deep))))]
                                         {:error-logger deep :warn-logger deep :event-logger deep})}]
    (doseq [[about loggers] loggers
            {:keys [mode port stop] :as server} (modes/start #(throw preallocated) loggers)]
      (testing (str mode ", loggers that throw " about)
        (try
          (is (= (repeat 8 500) (outcomes port 8 "/fail")))
          (websocket-bears-failures port)
          (is (= (repeat 8 500) (outcomes port 8 "/fail")) "after the WebSocket's closing failed, too")
          (all-threads-serve server)
          (finally (stop)))))))

;;;; Interrupts that come too late

(defn- nap
  "\"slept\", or \"interrupted\" if someone has interrupted this thread."
  []
  (try (Thread/sleep 1) "slept"
       (catch InterruptedException _ "interrupted")))

(defn- idle?
  "Whether `thread` runs nothing of this namespace."
  [^Thread thread]
  (not-any? #(str/starts-with? (.getClassName ^StackTraceElement %) "httpkit.worker_life_test") (.getStackTrace thread)))

(deftest an-interrupt-that-comes-after-its-handler-or-callback-does-not-hit-the-next
  (let [threads (atom [])
        work    #(do (swap! threads conj (Thread/currentThread)) (nap))
        handler (fn [request]
                  (if (:websocket? request)
                    (server/as-channel request {:on-receive (fn [ch _] (server/send! ch (work)))})
                    {:body (work)}))]
    (wire/with-server [{:keys [port]} handler {:allow-virtual? false :thread 1}]
      (let [conn   (ws/connect port 10000)
            ask    #(:body (wire/fetch port "/"))
            speak  #(do (ws/send! conn [[:text "?"]] nil) (second (ws/receive! conn)))
            after! #(let [^Thread thread (peek @threads)]
                      (is (wire/eventually (fn [] (idle? thread))))
                      (.interrupt thread))]
        (try
          (is (= ["slept" "slept"] [(ask) (speak)]))
          (is (= 1 (count (set @threads))))
          (doseq [[about next] {"a handler" ask, "a callback" speak}]
            (after!)
            (is (= "slept" (next)) about))
          (finally (ws/disconnect conn)))))))

(deftest an-interrupt-of-a-callback-does-not-hit-the-next-one-of-its-channel
  (doseq [[about options] {"own threads"     {:allow-virtual? false :thread 1}
                           "virtual threads" {}
                           "a user's pool"   {:worker-pool (Executors/newFixedThreadPool 1)}}]
    (testing about
      (let [gate    (CountDownLatch. 1)
            respond (fn [ch message]
                      (case message
                        "wait"      (.await gate)
                        "interrupt" (.interrupt (Thread/currentThread))
                        (server/send! ch (nap))))]
        (wire/with-server [{:keys [server port]} #(server/as-channel % {:on-receive respond}) options]
          (let [conn     (ws/connect port 10000)
                received #(long (get-in (server/server-stats server) [:bytes :in]))]
            (try
              (ws/send! conn [[:text "wait"]] nil)
              (let [before (received)]
                (ws/send! conn [[:text "interrupt"] [:text "nap"]] nil)
                ;; They have arrived while a callback runs: these are delivered together.
                (is (wire/eventually #(<= (+ before (count "interruptnap")) (received))))
                (.countDown gate)
                (is (= [:text "slept"] (ws/receive! conn))))
              (finally (ws/disconnect conn)))))))))

;;;; How many threads

(defn- threads-of [prefix]
  (count (filter (fn [^Thread t] (and (.isAlive t) (str/starts-with? (.getName t) prefix)))
                 (keys (Thread/getAllStackTraces)))))

(defn- unique-prefix [] (str "life-" (System/nanoTime) "-"))

(defn- blocking
  "A handler that blocks on /block until the latch opens, and counts in `running` how many do."
  [running ^CountDownLatch gate]
  (fn [{:keys [uri]}]
    (when (= "/block" uri)
      (swap! running inc)
      (.await gate))
    {:status 200 :body "ok"}))

(defmacro ^:private with-blocked
  "Runs `body` while `n` requests block, which it waits for."
  [[port n running gate] & body]
  `(let [conns# (vec (repeatedly ~n #(wire/connect ~port)))]
     (try
       (doseq [conn# conns#] (wire/send! conn# (wire/get-request "/block")))
       (is (wire/eventually #(= ~n @~running)) (str "all of " ~n " run at the same time"))
       ~@body
       (.countDown ^CountDownLatch ~gate)
       (is (= (repeat ~n 200) (mapv outcome conns#)))
       (finally
         (.countDown ^CountDownLatch ~gate)
         (run! (fn [^java.io.Closeable c#] (.close c#)) conns#)))))

(deftest a-pool-without-a-minimum-serves
  (doseq [options [{:n-min-threads 0} {:n-min-threads 0 :n-max-threads 1} {:pool-opts {:n-min-threads 0 :allow-virtual? false}}]]
    (wire/with-server [{:keys [port]} (constantly {:status 200 :body "ok"}) (merge {:allow-virtual? false} options)]
      (is (= (repeat 5 200) (outcomes port 5 "/")) options))))

(deftest threads-are-started-when-they-are-needed
  (let [prefix (unique-prefix), running (atom 0), gate (CountDownLatch. 1)
        cores  (.availableProcessors (Runtime/getRuntime))]
    (wire/with-server [{:keys [port]} (blocking running gate) {:allow-virtual? false :thread 2000 :prefix prefix}]
      (is (= 200 (:status (wire/fetch port "/"))))
      (is (<= 1 (threads-of prefix) (+ cores 4)) "few at first; some more where threads of a busy machine seem stuck")
      (with-blocked [port 60 running gate]
        (is (<= 60 (threads-of prefix) 121) "and no more than twice as many as are needed")))
    (is (wire/eventually #(zero? (threads-of prefix))) "they end with the server")))

(deftest threads-that-have-nothing-to-do-end-but-for-the-minimum
  (let [prefix (unique-prefix), running (atom 0), gate (CountDownLatch. 1)]
    (wire/with-server [{:keys [port]} (blocking running gate)
                       {:allow-virtual? false :n-min-threads 2 :n-max-threads 24 :prefix prefix :keep-alive-msecs 200}]
      (with-blocked [port 24 running gate]
        (is (= 24 (threads-of prefix))))
      (is (wire/eventually #(<= (threads-of prefix) 2)) "those that are not needed end")
      (is (not (wire/eventually 600 #(< (threads-of prefix) 2))) "the minimum stays")
      (testing "and come back"
        (reset! running 0)
        (let [gate (CountDownLatch. 1)]
          (wire/with-server [{:keys [port]} (blocking running gate)
                             {:allow-virtual? false :n-min-threads 1 :n-max-threads 8 :keep-alive-msecs 0}]
            (dotimes [round 3]
              (reset! running 0)
              (let [gate (CountDownLatch. 1)]
                (is (= (repeat 8 200) (outcomes port 8 "/")) (str "round " round))
                gate))
            (with-blocked [port 8 running gate])))))))

(deftest a-pool-that-grows-and-shrinks-all-the-time-answers-every-request
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [uri]}]
                       (when (= "/sleep" uri) (Thread/sleep 3))
                       {:status 200 :body "ok"})
                     {:allow-virtual? false :n-min-threads 1 :n-max-threads 16 :keep-alive-msecs 1}]
    (let [askers (doall (for [i (range 8)]
                          (future
                            (with-open [conn (wire/connect port)]
                              (frequencies
                                (for [j (range 200)]
                                  (do (wire/send! conn (wire/get-request (if (zero? (mod (+ i j) 3)) "/sleep" "/")))
                                      (when (zero? (mod j 20)) (Thread/sleep (long (mod (* 7 i) 11))))
                                      (outcome conn))))))))]
      (is (= (repeat 8 {200 200}) (map deref askers))))))

(def ^:private many-threads
  "A server that may start more threads than its JVM can."
  "(require '[org.httpkit.server :as server])
   (let [waiting (atom 0)]
     (println (:local-port (meta (server/run-server
                                   (fn [{:keys [uri]}]
                                     (case uri
                                       \"/count\" {:body (str @waiting)}
                                       \"/block\" (do (swap! waiting inc) (Thread/sleep 1500) (swap! waiting dec) {:body \"ok\"})
                                       {:body \"ok\"}))
                                   {:port 0 :ip \"127.0.0.1\" :thread 1000 :allow-virtual? false :queue-size 1000
                                    :error-logger (fn [msg e] (println msg) (flush))})))))
   (flush)
   @(promise)")

(deftest threads-that-cannot-be-started-do-not-count
  ;; Each takes a part of the address space, of which there is not enough for more than a few dozen.
  (let [process (subprocess/start
                  many-threads
                  :java "bash"
                  :jvm-args (into ["-c" "ulimit -v 9000000; exec \"$@\"" "bash" subprocess/java-command]
                                  (concat ["-Xmx160m" "-Xss128m" "-XX:+UseSerialGC" "-XX:ReservedCodeCacheSize=64m"
                                           "-XX:CompressedClassSpaceSize=64m" "-XX:CICompilerCount=2"]
                                          (when-let [path (System/getProperty "http-kit.native.path")]
                                            [(str "-Dhttp-kit.native.path=" path)])
                                          subprocess/native-access)))
        lines   (atom [])]
    (try
      (future (doseq [line (line-seq (io/reader (.getInputStream process)))] (swap! lines conj line)))
      (let [port (wire/eventually #(some (fn [line] (when (re-matches #"\d+" line) (parse-long line))) @lines))]
        (is port (str/join "\n" @lines))
        (when port
          (is (= {200 200} (frequencies (outcomes port 200 "/block"))) "those that have started serve all")
          (let [told #(count (filter (fn [line] (re-find #"cannot start a worker thread|http-kit: " line)) @lines))]
            (is (wire/eventually #(pos? (told))) "it is told of")
            (is (>= 20 (told)) "but not all the time"))
          (is (= [200] (outcomes port 1 "/")))))
      (finally (.destroyForcibly process)))))
