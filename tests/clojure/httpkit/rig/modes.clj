(ns httpkit.rig.modes
  "The site of the rig in the other ways in which a server may work: on a user's own pool, with asynchronous handlers,
  and with an `IHandler`."
  (:require [org.httpkit.server :as server])
  (:import (java.util.concurrent Executor LinkedBlockingQueue ThreadFactory ThreadPoolExecutor TimeUnit)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.logger ContextLogger EventLogger EventNames)
           (org.httpkit.server AsyncChannel Frame Frame$BinaryFrame Frame$TextFrame HttpRequest HttpServer IHandler
                               ProxyProtocolOption RespCallback)))

(set! *warn-on-reflection* true)

(defn- pool
  "Of `n` threads, which end when they have had nothing to do for a minute, as the library's own do: what they keep for
  their next use must be gone when the site rests."
  [n]
  (doto (ThreadPoolExecutor. (int n) (int n) 1 TimeUnit/MINUTES (LinkedBlockingQueue.)
                             (reify ThreadFactory
                               (newThread [_ runnable] (doto (Thread. runnable "site") (.setDaemon true)))))
    (.allowCoreThreadTimeOut true)))

(def ^:private ^Executor others
  "Threads of a user's, which respond for handlers."
  (pool 4))

(defn later!
  "Calls `f` on another thread."
  [f]
  (.execute others f))

(defn- asynchronous
  "Of a synchronous Ring handler: half of the responses come from another thread."
  [handler]
  (fn [req respond raise]
    (let [finish #(let [response (try (handler req) (catch Throwable t t))]
                    (if (instance? Throwable response) (raise response) (respond response)))]
      (if (even? (hash (:query-string req))) (finish) (later! finish)))))

;;;; IHandler

(defn- upgrade! [^HttpRequest request]
  (.sendHandshake (.getChannel request)
                  {"Upgrade" "websocket", "Connection" "Upgrade"
                   "Sec-WebSocket-Accept" (server/sec-websocket-accept (get (.headers request) "sec-websocket-key"))}))

(defn- respond! [^RespCallback callback handler ring]
  (let [{:keys [status body]} (handler ring)]
    (.run callback (HttpUtils/HttpEncode (int status) (HeaderMap.) body))))

(defn- respond-later!
  "An exception of another thread is nothing that the server sees."
  [callback handler ring]
  (later! #(respond! callback
                     (fn [ring] (try (handler ring) (catch Exception e {:status 500 :body (ex-message e)})))
                     ring)))

(defn- plain
  "An `IHandler` that responds with the whole bodies of a Ring handler's responses; half of them come from another
  thread, and all whose path is one of `slow`."
  ^IHandler [handler slow]
  (reify IHandler
    (^void handle [_ ^HttpRequest request ^RespCallback callback]
      (let [uri   (.uri request)
            query (.queryString request)
            ring  {:uri uri, :query-string query, :body (.getBody request)}]
        (cond
          (get (.headers request) "sec-websocket-key")   (upgrade! request)
          (= "/aborted" uri)                             (.abort (.getChannel request))
          (or (slow uri) (and query (odd? (hash query)))) (respond-later! callback handler ring)
          :else                                          (respond! callback handler ring))))
    (^void handle [_ ^AsyncChannel channel ^Frame frame]
      (condp instance? frame
        Frame$TextFrame   (.send channel (.getText ^Frame$TextFrame frame) false)
        Frame$BinaryFrame (.send channel (.data frame) false)
        nil))
    (clientClose [_ _ _])
    (clientClose [_ _ _ _])
    (close [_ _])))

(defn- embedded ^HttpServer [handler {:keys [error-logger warn-logger max-body]}]
  (let [logger (fn [f] (reify ContextLogger (log [_ message throwable] (f message throwable))))
        ^ContextLogger errors (logger error-logger)
        ^ContextLogger warnings (logger warn-logger)]
    (doto (HttpServer. "127.0.0.1" 0 (plain handler #{"/client" "/block"}) (int max-body) (int 8192) (int max-body)
                       ProxyProtocolOption/DISABLED "http-kit" true errors warnings EventLogger/NOP EventNames/DEFAULT)
      (.start))))

(defn start
  "Servers with `handler` in these ways, by name; with these options, but for the `IHandler`'s, which has no TLS."
  [handler options]
  {"a user's pool" (server/run-server handler (assoc options :worker-pool (pool 8)))
   "asynchronous"  (server/run-server (asynchronous handler) (assoc options :ring-async? true))
   "an IHandler"   (embedded handler options)})
