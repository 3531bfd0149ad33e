(ns httpkit.full-heap-test
  "A heap that is full, or a system without threads, costs responses and nothing else: no peer waits for ever, no thread
  is lost. In a JVM of its own, with servers in every mode."
  (:require [clojure.test      :refer [deftest is testing]]
            [httpkit.exhausted :as exhausted]
            [httpkit.wire      :as wire]
            [httpkit.ws-wire   :as ws])
  (:import (java.io Closeable)
           (java.net Socket SocketTimeoutException)))

(set! *warn-on-reflection* true)

(def ^:private patience
  "A full heap makes the JVM collect garbage all the time: beside other programs, a request then takes a minute or more."
  150000)

(defn- outcome [conn]
  (.setSoTimeout ^Socket (:socket conn) patience)
  (try
    (let [answer (wire/answer conn)] (:status answer answer))
    (catch SocketTimeoutException _ :silent)
    (catch clojure.lang.ExceptionInfo _ :truncated)))

(defn- outcomes [port paths]
  (let [conns (mapv (fn [_] (wire/connect port)) paths)]
    (try
      (run! (fn [[conn path]] (wire/send! conn (wire/get-request path))) (map vector conns paths))
      (mapv outcome conns)
      (finally (run! #(.close ^Closeable %) conns)))))

(defn- ask-meanwhile [{:keys [mode port websocket]}]
  (testing (str mode ", meanwhile")
    (let [answered (outcomes port (take 12 (cycle ["/allocate" "/" "/fail"])))]
      (is (not-any? #{:silent :truncated} answered) (str answered))
      (ws/send! websocket [[:text (apply str (repeat 1000 "x"))] [:text "fail"]] nil)
      answered)))

(defn- check-afterwards [{:keys [mode port threads websocket]}]
  (testing (str mode ", afterwards")
    (is (= [200 200 500 200] (outcomes port ["/" "/allocate" "/fail" "/"])))
    ;; Not at once: a thread that could not be started is tried again a little later.
    (is (wire/eventually #(= (repeat threads 200) (outcomes port (repeat threads (if (= 1 threads) "/" "/meet")))))
        "all threads are there")
    (testing "the WebSocket goes on or has been cut"
      (ws/send! websocket [[:text "hello"]] nil)
      (is (some #{[:text "hello"] :closed}
                (take-while #(not= :timeout %) (repeatedly 4 #(ws/receive! websocket))))))
    (let [fresh (ws/connect port patience)]
      (ws/send! fresh [[:text "hello"]] nil)
      (is (= [:text "hello"] (ws/receive! fresh)) "and another one works")
      (ws/disconnect fresh))))

(defn- survives
  "Takes away what `letter` says, gives it back, and sees what becomes of the peers. Returns the outcomes meanwhile."
  [{:keys [^Process process servers] :as jvm} letter]
  (try
    (let [servers (mapv #(assoc % :websocket (ws/connect (:port %) patience)) servers)]
      ;; All once before, so that no class is loaded for the first time without memory, and the JVM has carriers for
      ;; virtual threads: if it cannot start the first ones, it never starts any (JDK 25).
      (exhausted/order! jvm "g")
      (doseq [{:keys [port threads]} servers]
        (is (= [200 500 200] (outcomes port ["/" "/fail" "/allocate"])))
        (when (< 1 threads)
          (is (= (repeat threads 200) (outcomes port (repeat threads "/meet"))))))
      (exhausted/order! jvm letter)
      (let [meanwhile (into [] (mapcat ask-meanwhile) servers)]
        (exhausted/order! jvm "g")
        (run! check-afterwards servers)
        (run! (comp ws/disconnect :websocket) servers)
        (is (.isAlive process))
        meanwhile))
    (finally (exhausted/end! jvm))))

(deftest a-full-heap-leaves-no-peer-without-an-end-and-costs-no-thread
  (let [meanwhile (survives (exhausted/start ["-Xmx48m"] nil) "h")]
    (is (some #{:closed} meanwhile) "it was full")))

(deftest a-system-without-threads-leaves-no-peer-without-an-end
  ;; Each thread takes a part of the address space.
  (let [meanwhile (survives (exhausted/start ["-Xmx160m" "-Xss32m" "-XX:ReservedCodeCacheSize=64m"
                                              "-XX:CompressedClassSpaceSize=64m"]
                                             9000000)
                            "t")]
    (is (some #{503} meanwhile) "a pool without a thread refuses")))
