(ns httpkit.limits-test
  "Limits on what a peer may do, and for how long, as options of run-server."
  (:require [clojure.test :refer [deftest is]]
            [httpkit.wire :as wire])
  (:import (java.net InetSocketAddress Socket)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(def ^:private limit-ms 300)

(defn- fetch-on [conn]
  (wire/send! conn (wire/get-request "/"))
  (wire/answer conn))

(defn- told? [events event]
  (wire/eventually #(some #{event} @events)))

(deftest a-peer-that-sends-no-whole-head-in-time-gets-408-or-is-closed
  (wire/with-server [{:keys [port events]} ok {:header-timeout limit-ms}]
    (with-open [begun  (wire/connect port)
                silent (wire/connect port)]
      (wire/send! begun "GET / HTTP/1.1\r\nHos")
      (is (= [408 "Close" "0" ""]
             ((juxt :status #(get-in % [:headers "connection"]) #(get-in % [:headers "content-length"]) :body)
              (wire/answer begun))))
      (is (wire/closed? begun))
      (is (wire/closed? silent))
      (is (told? events "httpkit.server.timeout.header")))))

(deftest an-idle-connection-is-closed-and-one-with-a-slow-handler-is-not
  (wire/with-server [{:keys [port events]} (fn [{:keys [uri]}]
                                             (when (= "/slow" uri) (Thread/sleep 1500))
                                             (ok nil))
                     {:idle-timeout limit-ms}]
    (with-open [idle (wire/connect port)
                slow (wire/connect port)]
      (wire/send! slow (wire/get-request "/slow"))
      (is (= 200 (:status (fetch-on idle))))
      (is (wire/closed? idle))
      (is (told? events "httpkit.server.timeout.idle"))
      (is (= 200 (:status (wire/answer slow)))))))

(deftest a-body-that-does-not-come-gets-408
  (wire/with-server [{:keys [port events]} ok {:body-timeout limit-ms}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
      (is (= 408 (:status (wire/answer conn))))
      (is (wire/closed? conn))
      (is (told? events "httpkit.server.timeout.body")))))

(deftest a-peer-that-does-not-read-its-response-is-reset
  (wire/with-server [{:keys [port events]} (fn [_] {:status 200 :body (byte-array 20000000)}) {:write-timeout limit-ms}]
    (with-open [conn (wire/wrap (doto (Socket.)
                                  (.setReceiveBufferSize 4096)
                                  (.connect (InetSocketAddress. "127.0.0.1" (int port)))))]
      (wire/send! conn (wire/get-request "/"))
      (is (told? events "httpkit.server.timeout.write"))
      (is (> 20000000 (count (wire/read-rest conn)))))))

(deftest none-of-these-limits-applies-where-it-is-switched-off
  (doseq [options [{:legacy-timeouts? true}
                   {:header-timeout nil :idle-timeout false :body-timeout 0 :write-timeout nil}]]
    (wire/with-server [{:keys [port]} ok options]
      (with-open [conn (wire/connect port)]
        (is (wire/silent? conn 200))
        (is (= 200 (:status (fetch-on conn))))))))

(deftest legacy-timeouts-leaves-limits-that-are-given
  (wire/with-server [{:keys [port]} ok {:legacy-timeouts? true :idle-timeout limit-ms}]
    (with-open [idle   (wire/connect port)
                silent (wire/connect port)]
      (is (= 200 (:status (fetch-on idle))))
      (is (wire/closed? idle))
      (is (= 200 (:status (fetch-on silent))) "no limit on its head")))
  (wire/with-server [{:keys [port]} (fn [req] {:body (str (count (:headers req)))}) {:legacy-timeouts? true}]
    (let [headers (repeat 1500 ["a" "b"])]
      (is (= 200 (:status (wire/fetch port (apply wire/get-request "/" headers)))) "nor on the number of headers"))))
