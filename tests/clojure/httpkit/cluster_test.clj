(ns ^:newest-jdk httpkit.cluster-test
  "examples/cluster behind HAProxy: nodes are killed and restarted at random while clients talk.

  The system property httpkit.restarts says how often (default 2; `./dev cluster N`), httpkit.seed in which order."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :as shell]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.client :as client])
  (:import (java.io File)
           (java.net ServerSocket)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.util Random)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private restarts (Long/getLong "httpkit.restarts" 2))
(def ^:private seed (Long/getLong "httpkit.seed" (rem (System/nanoTime) 100000)))
(def ^:private there? (every? #(zero? (long (:exit (shell/sh "sh" "-c" (str "command -v " %))))) ["redis-server" "haproxy"]))

(defn- free-ports [n]
  (let [sockets (vec (repeatedly n #(ServerSocket. 0)))
        ports   (mapv #(.getLocalPort ^ServerSocket %) sockets)]
    (run! #(.close ^ServerSocket %) sockets)
    ports))

(defn- command ^Process [log & args]
  (.start (doto (ProcessBuilder. ^java.util.List (vec args))
            (.redirectErrorStream true)
            (.redirectOutput (io/file log)))))

(defn- answers? [port path]
  (= 200 (:status @(client/get (str "http://127.0.0.1:" port path) {:timeout 2000}))))

;; The cluster

(def ^:private start-patience-ms
  "Time for a JVM to compile the example, beside others that do the same."
  120000)

(defn- start-node [{:keys [redis ^File directory]} {:keys [node port]}]
  (let [process (command (io/file directory (str node "-" (System/nanoTime) ".log"))
                         subprocess/java-command "-Xmx128m" "-XX:TieredStopAtLevel=1" "-cp" (System/getProperty "java.class.path")
                         "clojure.main" "-e" "(load-file \"examples/cluster/cluster.clj\")"
                         "-e" (format "(cluster/-main \"%s\" \"%d\" \"redis://127.0.0.1:%d\")" node port redis))]
    (is (wire/eventually start-patience-ms #(or (not (.isAlive process)) (answers? port "/health"))))
    process))

(defn- haproxy-config [front ports]
  (reduce (fn [config [from to]] (str/replace config (str "127.0.0.1:" from) (str "127.0.0.1:" to)))
          (slurp "examples/cluster/haproxy.cfg")
          (map vector [8080 8091 8092 8093] (cons front ports))))

(defn- start-cluster []
  (let [directory          (.toFile (Files/createTempDirectory "cluster" (make-array FileAttribute 0)))
        [redis front & ports] (free-ports 5)
        config             (io/file directory "haproxy.cfg")
        cluster            {:redis redis, :front front, :directory directory
                            :nodes (mapv (fn [node port] {:node node, :port port}) ["a" "b" "c"] ports)}]
    (spit config (haproxy-config front ports))
    (assoc cluster :processes
           (atom (merge {:redis (command (io/file directory "redis.log") "redis-server" "--port" (str redis) "--bind" "127.0.0.1"
                                         "--save" "" "--dir" (str directory))}
                        (into {} (map (fn [node started] [(:node node) started])
                                      (:nodes cluster)
                                      (map deref (mapv #(future (start-node cluster %)) (:nodes cluster)))))
                        {:haproxy (command (io/file directory "haproxy.log") "haproxy" "-db" "-f" (str config))})))))

(defn- stop-cluster [{:keys [processes]}]
  (doseq [^Process process (vals @processes)]
    (.destroyForcibly process)
    (.waitFor process 60 TimeUnit/SECONDS)))

;; Clients. Each talks in the room through HAProxy; a session is one WebSocket of it.

(defn- heard-until
  "Adds to `session` what comes until `done?` of a text or of :timeout is true, or the connection breaks."
  [session peer done?]
  (let [frame (ws/receive! peer)]
    (cond
      (= :timeout frame)     (if (done? :timeout) session (recur session peer done?))
      (= :text (first (when (vector? frame) frame)))
      (let [session (update session :heard conj (second frame))]
        (if (done? (second frame)) session (recur session peer done?)))
      :else                  (assoc session :broken? true))))

(def ^:private listening-ms "Most that a session listens for others' last messages." 10000)

(defn- heard-out
  "Adds to `session` what comes until `quiet?`, the last message of each user has come, and then nothing more."
  [session peer {:keys [quiet? last-messages]}]
  (let [deadline (+ (System/nanoTime) (* 1000000 (long listening-ms)))]
    (loop [session session]
      (let [session (heard-until session peer #(and (= :timeout %) @quiet?))
            missing (remove (set (:heard session)) (map #(deref % 0 nil) (vals last-messages)))]
        (if (or (:broken? session) (empty? missing) (< deadline (System/nanoTime)))
          session
          (recur session))))))

(defn- session
  "Says ever higher numbers, each when the one before came back, until the connection breaks or `over?`; then delivers
  the last one and listens."
  [front user numbers {:keys [over? last-messages] :as signals}]
  (let [peer (ws/connect front 300 (str "/rooms/lobby?user=" user))
        text #(str user ": " %)]
    (try
      (loop [session (heard-until {:user user, :said [], :heard []} peer #(and (string? %) (str/starts-with? % "node ")))]
        (cond
          (:broken? session)                  session
          (and @over? (peek (:said session))) (do (deliver (last-messages user) (text (peek (:said session))))
                                                  (heard-out session peer signals))
          :else
          (let [n (swap! numbers inc)]
            (ws/send! peer [[:text (str n)]] nil)
            (recur (heard-until (update session :said conj n) peer #(= % (text n)))))))
      (finally (ws/disconnect peer)))))

(defn- talk [front user signals]
  (future
    (let [numbers (atom 0)]
      (loop [sessions []]
        (if @(:quiet? signals)
          sessions
          (let [session (try (session front user numbers signals)
                             (catch java.io.IOException _ (Thread/sleep 20))
                             (catch clojure.lang.ExceptionInfo _ (Thread/sleep 20)))]
            (recur (cond-> sessions session (conj session)))))))))

(defn- numbers-of [user heard]
  (keep #(some-> (re-matches (re-pattern (str user ": (\\d+)")) %) second parse-long) heard))

(defn- faults
  "What one session has heard of another that is not as promised: gaps, repetitions, a missing end."
  [hearing saying]
  (let [said  (set (:said saying))
        heard (filter said (numbers-of (:user saying) (:heard hearing)))
        whole (when (seq heard) (range (first heard) (inc (long (last heard)))))]
    (cond-> []
      (not= heard (or whole []))
      (conj [:not-in-a-row (take 3 (remove (set heard) whole)) (count heard)])
      (and (not (:broken? hearing)) (not (:broken? saying)) (not= (last heard) (last (:said saying))))
      (conj [:end-missing (last heard) (last (:said saying))]))))

(defn- replace-node! [{:keys [processes] :as cluster} {:keys [node] :as which} how]
  (let [^Process process (@processes node)]
    (if (= :kill how) (.destroyForcibly process) (.destroy process))
    (is (.waitFor process 100 TimeUnit/SECONDS))
    (swap! processes assoc node (start-node cluster which))))

(defn- present [front]
  (str/split-lines (str (:body @(client/get (str "http://127.0.0.1:" front "/rooms/lobby") {:timeout 2000})))))

(when-not there?
  (println "cluster-test: redis-server or haproxy is not on this machine"))

(when there?
  (deftest each-message-of-a-node-that-lives-reaches-each-member-once-whatever-is-killed
    (println "cluster-test:" restarts "restarts, seed" seed)
    (let [{:keys [front nodes] :as cluster} (start-cluster)
          random  (Random. (long seed))
          users   (mapv #(str "user" %) (range 6))
          signals {:over? (atom false), :quiet? (atom false), :last-messages (zipmap users (repeatedly promise))}]
      (try
        (is (wire/eventually start-patience-ms #(answers? front "/health")))
        (let [clients (mapv #(talk front % signals) users)]
          (is (wire/eventually #(= users (present front))) (pr-str (present front)))
          (dotimes [_ restarts]
            (replace-node! cluster (nodes (.nextInt random 3)) (if (.nextBoolean random) :kill :stop))
            (is (wire/eventually #(<= 6 (count (present front))))))
          (is (wire/eventually #(= users (present front))) "those of killed nodes are gone")
          (reset! (:over? signals) true)
          (is (every? #(deref % wire/patience-ms nil) (vals (:last-messages signals))))
          (reset! (:quiet? signals) true)
          (let [sessions (mapcat #(deref % 60000 [:hangs]) clients)]
            (is (not-any? #{:hangs} sessions))
            (println "cluster-test:" (count sessions) "sessions," (count (mapcat :said sessions)) "messages,"
                     (count (mapcat :heard sessions)) "heard")
            (is (= 6 (count (remove :broken? sessions))))
            (is (every? #(seq (:said %)) (remove :broken? sessions)))
            (is (= [] (for [hearing sessions, saying sessions, fault (faults hearing saying)]
                        [(:user hearing) (:user saying) fault])))))
        (finally
          (reset! (:over? signals) true)
          (reset! (:quiet? signals) true)
          (stop-cluster cluster)))))

  (deftest rolling-restarts-behind-haproxy-fail-no-request
    (let [{:keys [front nodes] :as cluster} (start-cluster)
          over?   (atom false)
          served  (atom 0)
          client  (fn []
                    (loop [failed []]
                      (if @over?
                        failed
                        (let [{:keys [status error]} @(client/get (str "http://127.0.0.1:" front "/health") {:timeout 60000})]
                          (swap! served inc)
                          (recur (cond-> failed (not= 200 status) (conj (or error status))))))))
          behind? (fn [node] (= node (:body @(client/get (str "http://127.0.0.1:" front "/health") {:as :text, :timeout 2000}))))]
      (try
        (doseq [{:keys [node]} nodes]
          (is (wire/eventually #(behind? node)) "a node that HAProxy has not seen yet"))
        (let [clients (doall (repeatedly 4 #(future (client))))]
          (doseq [which (take restarts (cycle nodes))]
            (replace-node! cluster which :stop)
            (is (wire/eventually #(behind? (:node which)))))
          (reset! over? true)
          (let [failed (mapcat #(deref % 100000 [:hangs]) clients)]
            (println "cluster-test:" restarts "rolling restarts," @served "requests," (count failed) "failed")
            (is (= [] failed))))
        (finally
          (reset! over? true)
          (stop-cluster cluster))))))
