(ns httpkit.rig.witness
  "A well-behaved client beside others: each answer must come, and be the right one."
  (:require [httpkit.wire :as wire])
  (:import (java.io Closeable)))

(set! *warn-on-reflection* true)

(defn- ask [conn]
  (wire/send! conn (wire/get-request "/json?42"))
  (let [answer (wire/answer conn)]
    (if (= [200 "{\"id\":\"42\"}"] [(:status answer) (:body answer)])
      [answer nil]
      [nil answer])))

(defn- ended? [answer] (= "Close" (get-in answer [:headers "connection"])))

(defn- watch
  "Asks every 20 ms, now on the connection of before and now on a new one; times in ns."
  [port over?]
  (loop [kept nil, times [], wrong []]
    (if (or @over? (< 10 (count wrong)))
      (do (some-> ^Closeable kept .close)
          {:times times :wrong wrong})
      (let [start (System/nanoTime)
            conn  (or kept (try (wire/connect port) (catch java.io.IOException e e)))
            [answer fault] (if (instance? Throwable conn)
                             [nil conn]
                             (try (ask conn) (catch Exception e [nil e])))
            took  (- (System/nanoTime) start)
            keep? (and answer (not (ended? answer)) (not= 0 (rem (count times) 3)))]
        (when-not (or keep? (instance? Throwable conn)) (.close ^Closeable conn))
        (Thread/sleep 20)
        (recur (when keep? conn)
               (conj times took)
               (cond-> wrong fault (conj fault)))))))

(defn start [port]
  (let [over? (atom false)]
    {:over? over? :watching (future (watch port over?))}))

(defn stop
  "{:answered :wrong :median-ms :most-ms}"
  [{:keys [over? watching]}]
  (reset! over? true)
  (let [{:keys [times wrong]} (deref watching 60000 {:times [] :wrong [:late]})
        sorted (vec (sort times))
        ms     #(quot (long %) 1000000)]
    {:answered  (- (count times) (count wrong))
     :wrong     wrong
     :median-ms (if (seq sorted) (ms (nth sorted (quot (count sorted) 2))) 0)
     :p99-ms    (if (seq sorted) (ms (nth sorted (quot (* 99 (count sorted)) 100))) 0)
     :most-ms   (if (seq sorted) (ms (peek sorted)) 0)}))

(defn figures [{:keys [answered wrong median-ms p99-ms most-ms]}]
  (str answered " answered, " (count wrong) " not, half within " median-ms " ms, 99 % within " p99-ms " ms, all within " most-ms " ms"))
