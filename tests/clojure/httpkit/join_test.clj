(ns httpkit.join-test
  "`server-join` returns once the server has stopped, whichever thread calls it."
  (:require [clojure.test         :refer [deftest is testing]]
            [httpkit.channel-wire :as channel-wire]
            [httpkit.wire         :as wire]
            [httpkit.ws-wire      :as frames]
            [org.httpkit.server   :as server])
  (:import (org.httpkit.server HttpServer)))

(set! *warn-on-reflection* true)

(defn- outcome [pending] (deref pending wire/patience-ms :late))

(deftest a-join-returns-when-the-server-has-stopped-and-its-log-is-written
  (let [entries (atom 0)
        join    (promise)
        log     (fn [_]
                  (let [{:keys [joined server]} @join]
                    (wire/eventually #(not (.isAlive ^HttpServer server)))
                    ;; Time for a join that returns too early.
                    (wire/eventually 300 #(realized? joined))
                    (swap! entries inc)))
        {:keys [port server]} (wire/start (fn [_] {:body "x"}) {:access-log log})
        joined  (future (server/server-join server) [(server/server-status server) @entries])]
    (deliver join {:joined joined :server server})
    (is (= 200 (:status (wire/fetch port "/"))))
    (let [stopped (server/server-stop! server {:timeout 0})]
      (is (= [:stopped 1] (outcome joined)))
      (is (true? (outcome stopped))))
    (is (nil? (outcome (future (server/server-join server)))) "a server that has stopped before")))

(deftest a-join-of-a-running-server-blocks-until-it-is-interrupted
  (wire/with-server [{:keys [server]} (fn [_]) {}]
    (let [ended  (promise)
          joiner (doto (Thread. #(deliver ended (try (server/server-join server)
                                                     (catch InterruptedException _ :interrupted))))
                   .start)]
      (is (wire/eventually #(= Thread$State/WAITING (.getState joiner))))
      (.interrupt joiner)
      (is (= :interrupted (outcome ended))))))

(defn- on-close-that-joins [joined server]
  (fn [_ _]
    (server/server-join @server)
    (deliver joined true)))

(deftest a-stop-waits-for-an-on-close-that-joins
  (doseq [[about handler-of begin]
          [["a stream"
            (fn [on-close _]
              #(server/as-channel % {:on-open (fn [ch] (server/send! ch "x" false)) :on-close on-close}))
            (fn [port] (doto (channel-wire/connect port)
                         (channel-wire/write! (channel-wire/get-request "/"))
                         channel-wire/read-head!))]
           ["a callback that waits for it"
            (fn [on-close joined]
              #(server/as-channel % {:on-receive (fn [ch _]
                                                   (server/send! ch "runs")
                                                   (wire/spin-until (fn [] (realized? joined))))
                                     :on-close   on-close}))
            (fn [port] (doto (channel-wire/upgrade port)
                         (frames/send! [[:text "m"]] nil)
                         frames/receive!))]]]
    (testing about
      (let [joined (promise), own (promise)
            {:keys [port server]} (wire/start (handler-of (on-close-that-joins joined own) joined) {})
            _       (deliver own server)
            conn    (begin port)
            stopped (server/server-stop! server {:timeout 0})]
        (is (realized? joined) "when the stop returns")
        (is (true? (outcome stopped)))
        (channel-wire/disconnect conn)))))

(deftest a-handler-that-joins-is-interrupted-as-any-other
  (let [begun (promise), ended (promise), own (promise)
        {:keys [port server]} (wire/start (fn [_]
                                            (deliver begun true)
                                            (deliver ended (try (server/server-join @own)
                                                                (catch InterruptedException _ :interrupted))))
                                          {})]
    (deliver own server)
    (with-open [conn (wire/connect port)]
      (wire/send! conn (wire/get-request "/"))
      (is (true? (outcome begun)))
      (is (true? (outcome (server/server-stop! server {:timeout 50}))))
      (is (= :interrupted (outcome ended))))))

(deftest the-callback-of-a-stop-may-join
  (let [joined (promise)
        {:keys [^HttpServer server]} (wire/start (fn [_]) {})]
    (.stop server 0 (fn [] (.join server) (deliver joined true)))
    (is (true? (outcome joined)))))
