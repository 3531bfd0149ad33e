(ns httpkit.ws-scale-test
  "Ten thousand open WebSockets in one server process."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.test :refer [deftest is]]
            [httpkit.ws-scale-client :as client]
            [org.httpkit.server :as server])
  (:import (java.io BufferedReader File)
           (java.lang ProcessBuilder$Redirect)
           (java.util.concurrent ConcurrentHashMap CountDownLatch TimeUnit)
           (java.util.concurrent.atomic AtomicInteger)))

(set! *warn-on-reflection* true)

(def ^:private sockets 10000)
(def ^:private rounds 20)
(def ^:private patience-ms 100000)

(defn- start-client ^Process [port]
  (let [java (str (System/getProperty "java.home") File/separator "bin" File/separator "java")
        command [java "-Xmx256m" "-cp" (System/getProperty "java.class.path")
                 "clojure.main" "-m" "httpkit.ws-scale-client"
                 (str port) (str sockets) (str rounds)]]
    (.start (doto (ProcessBuilder. ^java.util.List command)
              (.redirectError ProcessBuilder$Redirect/INHERIT)))))

(defn- read-report
  "The next line of the client, `:timeout` if there is none in time."
  [^BufferedReader reader]
  (deref (future (some-> (.readLine reader) edn/read-string)) patience-ms :timeout))

(defn- all-in-time? [^CountDownLatch latch]
  (.await latch patience-ms TimeUnit/MILLISECONDS))

(defn- handler
  "Keeps the channels, what they said, and how often one was closed."
  [{:keys [channels answers closings ^CountDownLatch opened ^CountDownLatch answered
           ^CountDownLatch closed]}]
  (fn [req]
    (server/as-channel
     req
     {:on-open    (fn [ch]
                    (.put ^ConcurrentHashMap channels ch true)
                    (.countDown opened))
      :on-receive (fn [_ text]
                    (.put ^ConcurrentHashMap answers text true)
                    (.countDown answered))
      :on-close   (fn [_ _]
                    (.incrementAndGet ^AtomicInteger closings)
                    (.countDown closed))})))

(defn- broadcast
  "Sends every round to every channel; how many sends were refused."
  [channels]
  (count (for [round (range rounds)
               :let [text (client/message round)]
               ch (keys channels)
               :when (not (server/send! ch text))]
           ch)))

(deftest a-broadcast-to-ten-thousand-loses-and-reorders-nothing
  (let [{:keys [channels answers ^AtomicInteger closings opened answered closed] :as seen}
        {:channels (ConcurrentHashMap.) :answers (ConcurrentHashMap.) :closings (AtomicInteger.)
         :opened   (CountDownLatch. sockets) :answered (CountDownLatch. sockets)
         :closed   (CountDownLatch. sockets)}
        server (server/run-server (handler seen) {:ip "127.0.0.1" :port 0
                                                  :legacy-return-value? false})
        client (start-client (server/server-port server))]
    (try
      (with-open [reports (io/reader (.getInputStream client))]
        (is (= {:open sockets} (read-report reports)))
        (is (all-in-time? opened))
        (is (= sockets (count channels)) "one channel each")
        (is (zero? (broadcast channels)))
        (is (= {:right sockets :wrong 0 :ended 0} (read-report reports)))
        (is (all-in-time? answered))
        (is (= (set (map client/message (range sockets))) (set (keys answers))))
        (is (zero? (.get closings)) "all still open")
        ;; Ends the client, and with it all connections at once.
        (.close (.getOutputStream client))
        (is (all-in-time? closed)))
      (finally
        (.destroyForcibly client)
        @(server/server-stop! server {:timeout 1000})))
    (is (= sockets (.get closings)) "on-close once each")))
