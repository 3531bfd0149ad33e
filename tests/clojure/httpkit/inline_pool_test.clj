(ns httpkit.inline-pool-test
  "Pools that run tasks on the thread that submits them, which is a loop: no wait for a peer may then end all others'
  service."
  (:require [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [httpkit.wire        :as wire]
            [org.httpkit.client  :as client]
            [org.httpkit.server  :as server])
  (:import (java.io IOException InputStream)
           (java.util.concurrent AbstractExecutorService CountDownLatch SynchronousQueue ThreadPoolExecutor
                                 ThreadPoolExecutor$CallerRunsPolicy TimeUnit)))

(set! *warn-on-reflection* true)

(defn- on-the-caller []
  (proxy [AbstractExecutorService] []
    (execute [^Runnable task] (.run task))
    (shutdown []) (shutdownNow [] []) (isShutdown [] false) (isTerminated [] true)
    (awaitTermination [_ _] true)))

(defn- full
  "A pool whose only thread is busy: the JDK's policy then runs tasks on the caller."
  []
  (doto (ThreadPoolExecutor. 1 1 0 TimeUnit/SECONDS (SynchronousQueue.) (ThreadPoolExecutor$CallerRunsPolicy.))
    (.execute #(try (.await (CountDownLatch. 1)) (catch InterruptedException _)))))

(def ^:private pools
  {"that runs all tasks on the caller" on-the-caller
   "with CallerRunsPolicy"             full})

(defn- others-are-served [port]
  (is (= 200 (:status (wire/fetch port "/"))) "others are served"))

(deftest a-handler-on-the-loop-cannot-wait-for-the-rest-of-its-body
  (doseq [[about new-pool] pools
          [uri status] {"/caught" 200, "/thrown" 500}]
    (testing (str "a pool " about ", " uri)
      (let [{:keys [port errors] :as started}
            (wire/start (fn [{:keys [uri body]}]
                          {:status 200
                           :body   (case uri
                                     "/caught" (try (slurp body) (catch IOException e (str e)))
                                     "/thrown" (slurp body)
                                     "ok")})
                        {:worker-pool (new-pool) :request-buffer-size 100 :io-threads 1})]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (str "POST " uri " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc"))
          (others-are-served port)
          (let [answer (wire/answer conn)]
            (is (= status (:status answer)))
            (is (re-find #"server's loop, on which the :worker-pool ran" (:body answer))))
          (is (= (if (= 500 status) 1 0) (count @errors))))
        (others-are-served port)
        (is (true? (wire/stop started)))))))

(deftest a-callback-on-the-loop-cannot-wait-for-room
  (doseq [[about new-pool] pools]
    (testing (str "a pool " about)
      (let [piece   (apply str (repeat 65536 \p))
            refused (promise)
            handler (fn [{:keys [uri] :as request}]
                      (if (= "/stream" uri)
                        (server/as-channel request
                          {:on-open (fn [ch]
                                      (server/send! ch {:status 200 :body ""} false)
                                      (let [e (try (dotimes [_ 2000] (server/send! ch piece false))
                                                   (catch IllegalStateException e e))]
                                        (deliver refused [(ex-message e) (server/open? ch)])))})
                        {:status 200 :body "ok"}))
            {:keys [port] :as started}
            (wire/start handler {:worker-pool (new-pool) :io-threads 1 :on-overflow :block :max-pending-bytes 262144})]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/stream"))
          (others-are-served port)
          (let [[message open?] (deref refused wire/patience-ms [:blocks])]
            (is (re-find #"server's loop, on which the :worker-pool ran" (str message)))
            (is open?))
          (is (= 200 (:status (wire/read-head conn))) "its peer gets what was sent before"))
        (others-are-served port)
        (is (true? (wire/stop started)))))))

(deftest a-send-on-the-loop-cannot-wait-for-another-threads-that-reads-an-upload
  (doseq [returned [nil {:status 200 :body "ignored"}]]
    (testing (str "whose handler returned " (pr-str returned))
      (let [[channel reading sent] (repeatedly promise)
            echo    (fn [ch body]
                      (deliver channel ch)
                      (future (deliver sent (server/send! ch (lazy-seq (deliver reading true) (list (slurp body)))))))
            handler (fn [{:keys [uri body async-channel] :as request}]
                      (case uri
                        "/echo" (if returned
                                  (do (echo async-channel body) @reading returned)
                                  (server/as-channel request {:on-open #(echo % body)}))
                        "/send" {:status 200
                                 :body   (try (str (server/send! @channel "x")) (catch IllegalStateException e (ex-message e)))}
                        {:status 200 :body "ok"}))
            {:keys [port] :as started}
            (wire/start handler {:worker-pool (on-the-caller) :request-buffer-size 100 :io-threads 1})]
        (with-open [conn (wire/connect port)]
          (wire/send! conn "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\nabc")
          (is (true? (deref reading wire/patience-ms :late)))
          (is (re-find #"server's loop, on which the :worker-pool ran" (:body (wire/fetch port "/send"))))
          (others-are-served port)
          (wire/send! conn (apply str (repeat 197 "d")))
          (is (= (apply str "abc" (repeat 197 "d")) (:body (wire/answer conn))))
          (is (true? (deref sent wire/patience-ms :late))))
        (is (true? (wire/stop started)))))))

(deftest close-handlers-run-though-a-pool-drops-what-it-gets-after-the-stop
  (let [closed  (promise)
        handler (fn [request]
                  (server/as-channel request {:on-open  (fn [ch] (server/send! ch {:status 200 :body ""} false))
                                              :on-close (fn [_ status] (deliver closed status))}))
        {:keys [port] :as started} (wire/start handler {:worker-pool (full)})]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (wire/get-request "/"))
      (is (= 200 (:status (wire/read-head conn))))
      (is (true? (wire/stop started 100)))
      (is (realized? closed)))))

;;;; The client

(defn- in-two-parts
  "Sends abc, and the rest once `go` is delivered; to other requests than for /stream a whole response."
  [go]
  (fn [conn]
    (if (str/includes? (:line (peer/read-request! conn)) "/stream")
      (do (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
          @go
          (peer/send! conn "def"))
      (peer/respond! conn "ok"))))

(defn- patiently [promise] (deref promise wire/patience-ms :late))

(deftest a-callback-may-read-a-body-though-the-pool-would-run-it-on-the-loop
  (doseq [[about new-pool] pools]
    (testing (str "a pool " about)
      (let [go     (promise)
            called (promise)
            c      (client/make-client {})]
        (peer/with-peer [p (in-two-parts go)]
          (let [text (client/get (str (:url p) "/stream") {:client c :as :stream :worker-pool (new-pool)}
                       (fn [{:keys [body]}]
                         (deliver called true)
                         (slurp body)))]
            (is (true? (patiently called)))
            (is (= "ok" (:body (patiently (client/get (:url p) {:client c})))) "other calls are served")
            (deliver go true)
            (is (= "abcdef" (patiently text)))
            (is (nil? (patiently (future (client/client-stop! c)))))))))))

(deftest a-callback-on-the-loop-cannot-wait-for-the-rest-of-another-calls-body
  (let [go (promise)
        c  (client/make-client {})]
    (peer/with-peer [p (in-two-parts go)]
      (let [^InputStream in (:body (patiently (client/get (str (:url p) "/stream") {:client c :as :stream})))
            e (patiently (client/get (:url p) {:client c :worker-pool (on-the-caller)}
                           (fn [_] (try (.readNBytes in 6) (catch IOException e (ex-message e))))))]
        (is (re-find #"client's loop, on which the :worker-pool ran" (str e)))
        (deliver go true)
        (is (= "def" (slurp in)) "the stream is still good")
        (is (nil? (patiently (future (client/client-stop! c)))))))))
