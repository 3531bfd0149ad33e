(ns httpkit.teams-test
  "Servers with several teams of loops and threads, each with its own work queue. Chance decides which team serves a
  connection; no client may notice."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.server :as server])
  (:import (java.io Closeable)
           (java.util.concurrent CountDownLatch CyclicBarrier Executors ExecutorService TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private threads 16)

(def ^:private modes
  {"own threads"   (fn [] {:io-threads 8 :thread threads :allow-virtual? false})
   "a user's pool" (fn [] {:io-threads 8 :worker-pool (Executors/newFixedThreadPool threads)})})

(defn- connections [port n] (vec (repeatedly n #(wire/connect port))))

(defn- close-all [conns] (run! #(.close ^Closeable %) conns))

(defn- ask-all
  "The bodies of the responses to requests for `path` that are on their way at the same time."
  [conns path]
  (doseq [conn conns] (wire/send! conn (wire/get-request path)))
  (mapv #(:body (wire/answer %)) conns))

(defn handler
  "/meet waits for one more of its kind, /block for the latch."
  [^CountDownLatch gate blocked]
  (let [pair (CyclicBarrier. 2)]
    (fn [{:keys [uri websocket?] :as request}]
      (case uri
        "/meet"  (.await pair 20 TimeUnit/SECONDS)
        "/block" (do (swap! blocked inc) (.await gate))
        nil)
      (if websocket?
        (server/as-channel request {:on-receive (fn [ch message] (server/send! ch message))})
        {:body "ok"}))))

(deftest whatever-blocks-elsewhere-all-get-their-responses
  (doseq [[mode options] modes]
    (testing mode
      (let [gate (CountDownLatch. 1), blocked (atom 0), options (options)]
        (wire/with-server [{:keys [port]} (handler gate blocked) options]
          (let [stuck   (connections port (- threads 2))
                others  (connections port 60)
                sockets (vec (repeatedly 10 #(ws/connect port 10000)))]
            (try
              (doseq [conn stuck] (wire/send! conn (wire/get-request "/block")))
              (is (wire/eventually #(= (count stuck) @blocked)) "one thread for each")
              (dotimes [round 20]
                (is (= (repeat 60 "ok") (ask-all others "/")))
                (is (= ["ok" "ok"] (ask-all (take 2 (shuffle others)) "/meet")) "by the two threads that are left")
                (doseq [socket sockets] (ws/send! socket [[:text (str round)]] nil))
                (is (= (repeat 10 [:text (str round)]) (mapv ws/receive! sockets))))
              (.countDown gate)
              (is (= (repeat (count stuck) "ok") (mapv #(:body (wire/answer %)) stuck)))
              (finally
                (.countDown gate)
                (run! ws/disconnect sockets)
                (close-all (concat stuck others))))))
        (some-> ^ExecutorService (:worker-pool options) .shutdown)))))

(deftest the-queues-size-is-that-of-all-teams-together
  (let [gate (CountDownLatch. 1), blocked (atom 0), queued 5]
    (wire/with-server [{:keys [server port]} (handler gate blocked)
                       {:io-threads 8 :thread threads :allow-virtual? false :queue-size queued}]
      (let [stuck (connections port threads), waiting (connections port queued), late (connections port 20)]
        (try
          (doseq [conn stuck] (wire/send! conn (wire/get-request "/block")))
          (is (wire/eventually #(= threads @blocked)))
          (doseq [conn waiting] (wire/send! conn (wire/get-request "/")))
          (is (wire/eventually #(= queued (get-in (server/server-stats server) [:queue :waiting]))))
          (doseq [conn late] (wire/send! conn (wire/get-request "/")))
          (is (= (repeat 20 503) (mapv #(:status (wire/answer %)) late)))
          (.countDown gate)
          (is (= (repeat (+ threads queued) 200) (mapv #(:status (wire/answer %)) (concat stuck waiting))))
          (is (= (repeat 20 "ok") (ask-all late "/")) "and then there is room again")
          (finally
            (.countDown gate)
            (close-all (concat stuck waiting late))))))))

(deftest a-jvm-with-many-processors-serves-with-the-default-pool
  (let [script (pr-str
                 '(do (require '[httpkit.teams-test :as teams])
                      (prn (teams/serve-by-default))))
        {:keys [exit out]} (subprocess/run script
                             :jvm-args (concat ["-XX:ActiveProcessorCount=32" "-Xmx256m"] subprocess/native-access))]
    (is (= {:exit 0 :out (pr-str {:met 40 :quick 2000 :stopped true})} {:exit exit :out out}))))

(defn serve-by-default
  "Serves requests that block, wait for each other, or do neither; how many got their responses, and whether a stop came
  to its end."
  []
  (let [gate (CountDownLatch. 1), blocked (atom 0)]
    (wire/with-server [{:keys [server port]} (handler gate blocked) {}]
      (let [stuck (connections port 40), others (connections port 100), oks #(count (filter #{"ok"} %))]
        (doseq [conn stuck] (wire/send! conn (wire/get-request "/block")))
        (wire/eventually #(= 40 @blocked))
        (let [quick (reduce + (repeatedly 20 #(oks (ask-all others "/"))))
              met   (reduce + (repeatedly 20 #(oks (ask-all (take 2 (shuffle others)) "/meet"))))]
          (.countDown gate)
          (run! wire/answer stuck)
          (close-all (concat stuck others))
          {:met met :quick quick :stopped (true? (deref (server/server-stop! server) 20000 :late))})))))
