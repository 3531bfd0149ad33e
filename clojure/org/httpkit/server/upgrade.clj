(ns ^:no-doc org.httpkit.server.upgrade
  "How a request becomes a channel: what `as-channel` checks and sets before it calls anything, and what it says in a
  WebSocket handshake. Not API."
  (:require
   [org.httpkit.handshake :as handshake]
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.server.config :as config]
   [org.httpkit.server.partners :as partners])
  (:import
   [org.httpkit HttpUtils]
   [org.httpkit.server AsyncChannel]))

(set! *warn-on-reflection* true)

;;;; Options

(def ^:private warned
  "Keys of warnings that `as-channel` has given: each request would repeat them."
  (atom #{}))

(defn- warn-once! [ch k message]
  (when (options/first-time! warned k)
    (if (instance? AsyncChannel ch)
      (.logWarning ^AsyncChannel ch (message) nil)
      (HttpUtils/printWarning (message)))))

(defn warn-of-missing-channel! []
  (warn-once! nil ::missing-channel
    #(str "as-channel: the request has no :async-channel: it comes from another server,"
       " or a middleware has taken it out; returning nil"))
  nil)

(defn- check! [ch opts]
  (let [opts (options/as-map "as-channel" opts)]
    (options/check tables/channel opts
      (fn [k] (warn-once! ch [k] #(options/unknown-name "as-channel" tables/channel k))))
    (partners/check-channel! opts)))

(defn- bound-pending! [^AsyncChannel ch {:keys [max-pending-bytes on-overflow on-drain compression]}]
  (when (or max-pending-bytes on-overflow on-drain)
    (.boundPending ch
      (int (options/to-int (or max-pending-bytes 0)))
      (config/overflows on-overflow)
      on-drain))
  (when (some? compression)
    (.compress ch compression)))

(defn prepare!
  "Checks the options of `as-channel`, and sets those that count from the first send on."
  [ch opts]
  (check! ch opts)
  (when (instance? AsyncChannel ch)
    (.watchPeer ^AsyncChannel ch)
    (bound-pending! ch opts)))

(defn opening
  "Runs `f`, which sets the close handlers and then calls `:on-open`; see `AsyncChannel`."
  [ch f]
  (if (instance? AsyncChannel ch)
    (do
      (.beginOpening ^AsyncChannel ch)
      (try (f) (finally (.endOpening ^AsyncChannel ch))))
    (f)))

(defn told?
  "Whether `:on-close` has been called, or would have been."
  [ch]
  (and (instance? AsyncChannel ch) (.get (.closedRan ^AsyncChannel ch))))

;;;; Handshake

(defn set-pings! [ch {:keys [ping-interval ping-timeout]}]
  (when (and ping-interval (pos? (long ping-interval)))
    (.setPings (options/the-channel ":ping-interval of" ch)
      (options/to-int ping-interval) (options/to-int (or ping-timeout ping-interval)))))

(defn accept!
  "Responds with 101; `checked` is what `websocket-handshake-check` returned."
  [ch ring-req checked {:keys [subprotocols headers]}]
  (.sendHandshake (options/the-channel "the handshake of" ch)
    (handshake/headers checked (when subprotocols (handshake/agreed ring-req subprotocols)) (or headers nil))))

(defn rejection
  "The response to a handshake that is none."
  [ring-req]
  (handshake/rejection ring-req "Bad Sec-Websocket-Key header"))
