(ns httpkit.modes
  "One application, served in every way of work: by the server's own threads, virtual ones where there are, a user's
  pool, asynchronously, and for embedders.

    /      200 ok          /fail  throws
    /meet  waits until as many requests as the server has threads are here
    a WebSocket: throws what says fail, sends everything else back; its `on-close` throws"
  (:require [org.httpkit.server :as server])
  (:import (clojure.lang IFn)
           (java.util.concurrent CyclicBarrier ExecutorService Executors TimeUnit)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.logger ContextLogger EventLogger EventNames)
           (org.httpkit.server AsyncChannel Frame Frame$TextFrame HttpRequest HttpServer IHandler ProxyProtocolOption
                               RespCallback RingHandler)))

(set! *warn-on-reflection* true)

(def threads
  "Threads of each server but that of a plain `IHandler`, which has one."
  4)

(defn- meet [^CyclicBarrier barrier]
  (.await barrier 20 TimeUnit/SECONDS))

(defn- on-websocket [fail]
  {:on-receive (fn [ch message] (if (= "fail" message) (fail) (server/send! ch message)))
   :on-close   (fn [_ _] (fail))})

(defn- application
  "A Ring handler that also takes routes, functions of no arguments by path."
  [fail routes]
  (let [barrier (CyclicBarrier. threads)]
    (fn [{:keys [uri websocket?] :as req}]
      (if websocket?
        (server/as-channel req (on-websocket fail))
        (case uri
          "/fail" (fail)
          "/meet" (do (meet barrier) {:status 200 :body "met"})
          {:status 200 :body (str (when-let [route (routes uri)] (route)) "ok")})))))

(defn- asynchronous [application]
  (fn [req respond raise]
    (if (= "/fail" (:uri req))
      (raise (try (application req) (catch Throwable e e)))
      (respond (application req)))))

(def ^:dynamic *pool*
  "Makes a user's pool."
  #(Executors/newFixedThreadPool threads))

(defn- pool ^ExecutorService [] (*pool*))

(defn- ok [^RespCallback callback]
  (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) "ok")))

(defn- plain-handler [fail routes]
  (reify IHandler
    (^void handle [_ ^HttpRequest request ^RespCallback callback]
      (if-let [route (routes (.uri request))]
        (route)
        (when (= "/fail" (.uri request)) (fail)))
      (if (= "Upgrade" (get (.headers request) "connection"))
        (.sendHandshake (.getChannel request)
                        {"Upgrade" "websocket", "Connection" "Upgrade"
                         "Sec-WebSocket-Accept" "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="})
        (ok callback)))
    (^void handle [_ ^AsyncChannel channel ^Frame frame]
      (let [text (.getText ^Frame$TextFrame frame)]
        (if (= "fail" text) (fail) (.send channel text false))))
    (clientClose [_ _ _] (fail))
    (clientClose [_ _ _ _] (fail))
    (close [_ _])))

(defn- embedded [^IHandler handler ^ContextLogger logger ^EventLogger events]
  (doto (HttpServer. "127.0.0.1" 0 handler 100000 8192 100000 ProxyProtocolOption/DISABLED
                     "http-kit" true logger logger events EventNames/DEFAULT)
    (.start)))

(defn- ring [options]
  (fn [application _ _ _]
    (server/run-server application
                       (merge {:ip "127.0.0.1" :port 0 :legacy-return-value? false} options))))

(defn- modes
  "From name to (fn [application fail routes loggers]) -> server."
  [{:keys [error-logger warn-logger event-logger] :as loggers}]
  (let [log   (if error-logger (reify ContextLogger (log [_ m e] (error-logger m e))) ContextLogger/ERROR_PRINTER)
        event (if event-logger (reify EventLogger (log [_ e] (event-logger e))) EventLogger/NOP)]
    {"own threads"          (ring (merge loggers {:allow-virtual? false :thread threads}))
     "default"              (ring (merge loggers {:n-max-threads 32}))
     "a user's pool"        (ring (merge loggers {:worker-pool (pool)}))
     "asynchronous"         (fn [application & _]
                              ((ring (merge loggers {:allow-virtual? false :thread threads :ring-async? true}))
                               (asynchronous application) nil nil nil))
     "an IHandler"          (fn [_ fail routes _] (embedded (plain-handler fail routes) log event))
     "a RingHandler's heir" (fn [application & _]
                              (embedded (proxy [RingHandler] [^IFn application false (pool) log event EventNames/DEFAULT nil true])
                                        log event))}))

(defn start
  "Starts a server in every mode. `fail` throws; `options` are loggers. Returns maps of :mode, :port, :threads and
  :stop, a function."
  ([fail loggers] (start fail {} loggers))
  ([fail routes loggers]
   (vec (for [[mode start] (modes loggers)
              :let [server (start (application fail routes) fail routes loggers)]]
          {:mode    mode
           :port    (.getPort ^HttpServer server)
           :threads (if (= "an IHandler" mode) 1 threads)
           :stop    #(.stop ^HttpServer server 100)}))))
