(ns httpkit.client-churn-test
  "Whatever peers and users do, each request has its one answer, and nothing stays."
  (:require [clojure.test :refer [deftest is]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client :as client])
  (:import [java.io ByteArrayInputStream InputStream IOException]
           [java.nio.channels SocketChannel]
           [java.util Random]
           [org.httpkit.jni ClientUpcalls]))

(def ^:private seed (Long/getLong "httpkit.seed" (System/nanoTime)))

(defn- pick [^Random random choices]
  (nth choices (.nextInt random (count choices))))

(def ^:private answers
  [(fn [conn] (peer/close! conn))
   (fn [conn] (peer/break! conn))
   (fn [conn] (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc") (peer/close! conn))
   (fn [conn] (peer/send! conn "garbage\r\n\r\n"))
   (fn [conn] (peer/send! conn "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
     (peer/send! conn "0\r\n\r\n") :next)
   (fn [conn] (peer/send! conn "HTTP/1.1 302 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") :next)
   (fn [conn] (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
     (peer/send-bytes! conn (byte-array 300000)) :next)
   (fn [conn] (Thread/sleep 20) (peer/respond! conn "late") :next)
   (fn [conn] (peer/respond! conn "ok") :next)])

(defn- erratic [conn]
  (let [random (Random. (+ (long seed) (long (:index conn))))]
    (try
      (while (and (peer/read-request! conn)
                  (= :next ((pick random answers) conn))))
      (catch IOException _)))) ; the client may hang up at any time

(defn- random-opts [random url c]
  (merge {:url url :client c :max-redirects 3
          :as      (pick random [:auto :stream :byte-array :none])
          :timeout (pick random [30 300 5000])
          :method  (pick random [:get :post :head :put])}
         (pick random [{} {} {:deadline 20} {:deadline 1} {:keepalive 0} {:body "abc"} {:pool-timeout 10}
                       {:body (ByteArrayInputStream. (byte-array 1000)) :chunked? true}
                       {:filter (client/max-body-filter 1000)}])))

(defn- consume [how ^InputStream in]
  (case how
    :close  (.close in)
    :read   (try (.readAllBytes in) (catch IOException _))
    :forget nil))

(deftest every-request-is-answered-once-and-nothing-stays
  (println "seed" seed)
  (let [random (Random. seed)]
    (peer/with-peer [p erratic]
      (doseq [options [{} {:max-connections 5} {:max-connections-per-host 3}
                       {:channel-factory (fn [_] (SocketChannel/open))}]
              stop?   [false true]]
        (let [c       (client/make-client options)
              calls   (atom 0)
              results (doall
                       (for [i (range 400)]
                         (let [how    (pick random [:close :read :forget])
                               result (client/request
                                       (random-opts random (:url p) c)
                                       (fn [{:keys [body]}]
                                         (swap! calls inc)
                                         (when (instance? InputStream body) (consume how body))
                                         :called))]
                           (when (zero? (mod i 7)) (future-cancel result))
                           result)))]
          (when stop? (client/client-stop! c))
          (is (= {:called 400} (frequencies (map #(deref % 20000 :hung) results))))
          (is (= 400 @calls))
          (client/client-stop! c))))
    (is (peer/eventually #(zero? (ClientUpcalls/liveCalls))))
    (is (peer/eventually #(zero? (ClientUpcalls/liveTransports))))))
