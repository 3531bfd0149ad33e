(ns ^:no-doc org.httpkit.server.lifecycle
  "How a server starts, drains and stops. Not API: use the functions of `org.httpkit.server`."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.server.config :as config]
   [org.httpkit.server.sockets :as sockets])
  (:import
   [java.io IOException]
   [java.util.function Consumer]
   [org.httpkit.server Drained HttpServer]))

(set! *warn-on-reflection* true)

(defn the-server
  "`x`, or IllegalArgumentException if it is no server."
  ^HttpServer [what x]
  (when-not (instance? HttpServer x)
    (options/refuse! what
      (cond
        (nil? x) " of nil"
        (fn? x)  " of a function"
        :else    (str " of class " (.getName (class x))))
      ": expected an HttpServer, "
      (if (fn? x)
        "which is (:server (meta it)) of what run-server returns"
        "see :legacy-return-value? of run-server")))
  x)

(defn- warn! [^HttpServer server messages]
  (run! #(.logWarning server % nil) messages))

;;;; Start

(defn- tell-ready [^HttpServer server]
  (try
    (sockets/notify! "READY=1" (sockets/environment))
    (catch IOException e
      (.logWarning server "the server is ready, but systemd could not be told" e))))

(defn start
  "A server that runs, from the options of `run-server`."
  ^HttpServer [handler opts]
  (config/check! handler opts)
  (let [server (HttpServer. (config/server-options handler opts))]
    (warn! server (config/warnings handler opts))
    (.start server)
    (when (= :systemd (:listen-socket opts))
      (tell-ready server))
    server))

;;;; Stop

(def ^:private default-stop-timeout 100)

(defn- stop-timeout
  "The `:timeout` of `opts` in msecs; warns of unknown names."
  [server what opts]
  (let [opts (merge {:timeout default-stop-timeout} opts)]
    (options/check tables/stop opts)
    (warn! server (options/unknown-names what tables/stop opts))
    (options/to-int (:timeout opts))))

(defn stop!
  "See `org.httpkit.server/server-stop!`. `what`: the function that has the options."
  [^HttpServer server what opts]
  (let [timeout (stop-timeout server what opts)
        stopped (promise)]
    (when (.stop server (int timeout) #(deliver stopped true))
      stopped)))

(defn- stop-arguments
  "The options among the arguments of the stop function: `:timeout 100`, or one
  map. Others get a warning, and the server is stopped all the same."
  [server args]
  (let [[pairs [extra]] (split-at (- (count args) (rem (count args) 2)) args)]
    (when-not (or (nil? extra) (map? extra))
      (warn! server [(str (options/shown-alone extra)
                       " is no argument of the stop function; a time-out is given as :timeout 100")]))
    (merge (apply hash-map pairs) (when (map? extra) extra))))

(defn stop-function
  "What `run-server` returns."
  [server]
  (fn stop [& args]
    (stop! server "the stop function" (stop-arguments server args))
    nil))

;;;; Drain

(defn- counts-of [^Drained drained]
  {:requests   (.requests drained)
   :websockets (.websockets drained)
   :cut        (.cut drained)})

(defn drain!
  "See `org.httpkit.server/server-drain!`."
  [^HttpServer server opts]
  (let [opts (merge {:timeout 30000 :ws-grace 0} opts)]
    (options/check tables/drain opts)
    (warn! server (options/unknown-names "server-drain!" tables/drain opts))
    (when-let [ended (.drain server
                       (options/to-int (:timeout opts)) (options/to-int (:ws-grace opts)))]
      (let [drained (promise)]
        (.thenAccept ended
          (reify Consumer
            (accept [_ drain] (deliver drained (counts-of drain)))))
        drained))))
