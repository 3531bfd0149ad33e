(ns ^:no-doc org.httpkit.server.config
  "From the options of `run-server` to the server's. Not API."
  (:require
   [org.httpkit.logging :as logging]
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.server.partners :as partners]
   [org.httpkit.server.sockets :as sockets]
   [org.httpkit.server.tls :as tls]
   [org.httpkit.workers :as workers])
  (:import
   [java.io File]
   [java.net InetSocketAddress SocketAddress UnknownHostException]
   [java.nio.channels ServerSocketChannel UnresolvedAddressException]
   [java.nio.file Path]
   [java.util.concurrent ExecutorService]
   [org.httpkit.logger ContextLogger]
   [org.httpkit.server AccessFormat AccessSink Compression HttpServer HttpServer$AddressFinder
    HttpServer$ServerChannelFactory Overflow ServerOptions]
   [org.httpkit.tls Source]))

(set! *warn-on-reflection* true)

(defn check!
  "Throws if the handler or an option of a server is invalid."
  [handler {:keys [address-finder] :as opts}]
  (when-not (or (nil? handler) (ifn? handler))
    (throw (ClassCastException. (str "handler " (options/shown handler) ": expected a function of a request"))))
  ;; `:address-finder` replaces both.
  (options/check (tables/server-table opts) (if address-finder (dissoc opts :ip :port) opts))
  (sockets/check-together! opts)
  (partners/check! opts)
  (tls/check! opts))

(defn warnings
  "Warnings about them, as texts."
  [handler {:keys [pool-opts event-names] :as opts}]
  (concat
    (when (nil? handler)
      ["the handler of run-server is nil: every request will get a 500"])
    (when (and (map? handler) (not (record? handler)))
      ["the handler of run-server is a map: expected a function of a request; options come second"])
    (tls/warnings opts)
    (options/unknown-names "run-server" tables/server        (tls/known opts))
    (options/unknown-names "new-worker" tables/server-worker pool-opts)
    (options/unknown-events event-names)))

(def ^:private no-limits
  "Those that http-kit does not have."
  (zipmap [:header-timeout :idle-timeout :body-timeout :write-timeout :max-headers] (repeat nil)))

(defn- with-limits
  "The options with those for `:legacy-timeouts?`."
  [{:keys [legacy-timeouts?] :as opts}]
  (if legacy-timeouts? (merge no-limits opts) opts))

(def overflows
  "Values of `:on-overflow`, for servers and channels."
  {:close  Overflow/CLOSE
   :block  Overflow/BLOCK
   :reject Overflow/REJECT})

;;;; Where to listen

(defn- ip-address [^String ip port]
  (let [address (InetSocketAddress. ip (int (options/to-int port)))]
    (when (.isUnresolved address)
      ;; This exception takes no message of its own.
      (throw (.initCause (UnresolvedAddressException.)
               (UnknownHostException.
                 (str ":ip " (pr-str ip) ": the name is unknown, or the resolver cannot be reached")))))
    address))

(defn- found [address-finder]
  (if (instance? HttpServer$AddressFinder address-finder)
    (.findAddress ^HttpServer$AddressFinder address-finder)
    (some->> (address-finder) (options/returned :address-finder SocketAddress))))

(defn- find-address!
  [^ServerOptions options
   {:keys [address-finder ip port unix-socket-replace?] :or {ip tls/default-ip port tls/default-port} :as opts}]
  (set! (.address options)
    (if address-finder
      (doto (found address-finder) (->> (partners/check-found! opts)))
      (ip-address ip port)))
  ;; Only if asked for: http-kit leaves the file that it finds.
  (when (and address-finder unix-socket-replace?)
    (.set options "unix-socket-replace?" 1)))

(defn- make-channel ^java.nio.channels.ServerSocketChannel [factory address]
  (options/returned :channel-factory ServerSocketChannel
    (if (instance? HttpServer$ServerChannelFactory factory)
      (.createChannel ^HttpServer$ServerChannelFactory factory address)
      (factory address))))

(defn- copy-socket-options!
  "The native server cannot use a JDK channel: the channel's socket options are
  copied, then it is closed."
  [^ServerOptions options factory address]
  (when factory
    (with-open [channel (make-channel factory address)]
      (.copyFrom options channel))))

(defn- set-address!
  "Sets the address and socket options. Throws what `run-server` throws for the
  address."
  [^ServerOptions options {:keys [channel-factory] :as opts}]
  (when-not (sockets/set-socket! options opts)
    (find-address! options opts)
    (copy-socket-options! options channel-factory (.address options)))
  (tls/set-tls! options opts))

;;;; Who runs the handler

(defn- forced-pool ^ExecutorService [pool]
  (when (delay? pool)
    (options/check tables/server {:worker-pool @pool}))
  (force pool))

(defn- set-own-workers!
  "The server has its own threads, which pull their work (see ARCHITECTURE.md); they have the sizes of the pool that
  `new-worker` would make."
  [^ServerOptions options {:keys [keep-alive-msecs prefix worker-name-prefix] :as opts}]
  (let [{:keys [type n-cores n-min-threads n-max-threads queue-size]} (workers/server-spec opts)
        virtual? (= type :virtual)]
    ;; Beside virtual threads, it is the only one of these options that is used.
    (options/check (select-keys tables/server-worker [:keep-alive-msecs]) opts)
    (when keep-alive-msecs
      (.set options "keep-alive-msecs" (options/to-int keep-alive-msecs)))
    (when queue-size
      (.set options "queue-size" (options/to-int queue-size)))
    (set! (.virtual options)      virtual?)
    (set! (.minThreads options)   (int (if virtual? n-cores n-min-threads)))
    (set! (.maxThreads options)   (int (if virtual? n-cores n-max-threads)))
    (set! (.threadPrefix options) (str (or prefix worker-name-prefix workers/server-prefix)))))

(defn- set-workers! [^ServerOptions options {:keys [worker-pool pool-opts] :as opts}]
  (if-let [pool (forced-pool worker-pool)]
    (set! (.pool options) ^ExecutorService pool)
    (set-own-workers! options (or pool-opts opts))))

;;;; Ring's two protocols, where there are any
;;
;; Looked for when this namespace loads, not when it is compiled: an application that was compiled with Ring may run
;; without, and the other way round. Loaded here and now, so that compiling this namespace ahead of time compiles what
;; it needs, and `run-server` loads nothing.

(def no-ring-websockets?
  "True if a property turned Ring's WebSocket API off, else nil."
  (when (= "true" (System/getProperty "http-kit.no-ring-websockets")) true))

(defn- on-class-path? [protocols]
  (try (require protocols) true
       (catch java.io.FileNotFoundException _ false)))

(def ^:private ring-upgrade
  "(fn [request response]), which handles responses of Ring's WebSocket API; nil without that API."
  (when (and (not no-ring-websockets?) (on-class-path? 'ring.websocket.protocols))
    (require 'org.httpkit.ring-websocket)
    @(resolve 'org.httpkit.ring-websocket/upgrade)))

(def ^:private ring-streams
  "[streamable? streams-itself? write] for Ring's StreamableResponseBody; nil without that protocol."
  (when (on-class-path? 'ring.core.protocols)
    (require 'org.httpkit.ring-streams)
    [@(resolve 'org.httpkit.ring-streams/streamable?)
     @(resolve 'org.httpkit.ring-streams/streams-itself?)
     @(resolve 'org.httpkit.ring-streams/write)]))

(defn- set-handler! [^ServerOptions options handler {:keys [ring-async?]}]
  (set! (.handler options) handler)
  (set! (.async options)   (boolean ring-async?))
  (set! (.upgrade options) ring-upgrade)
  (when-let [[streamable? streams-itself? write] ring-streams]
    (set! (.streamable options)      streamable?)
    (set! (.streamsItself options)   streams-itself?)
    (set! (.writeStreamable options) write)))

;;;; Who is told

(defn- access-sink ^AccessSink [{:keys [access-log]}]
  (let [{:keys [file format] :or {format :combined}} (if (map? access-log) access-log {:file access-log})
        format ({:combined AccessFormat/COMBINED, :common AccessFormat/COMMON, :json AccessFormat/JSON} format)]
    (cond
      (not file)               nil
      (= :stdout file)         (AccessSink/standardOutput format)
      (or (string? file) (instance? File file) (instance? Path file))
      (AccessSink/file (Source/path ":access-log" file) format)
      :else                    (AccessSink/function file))))

(defn- set-access-log! [^ServerOptions options opts]
  (set! (.accessLog options) (access-sink opts)))

(defn- set-loggers!
  [^ServerOptions options {:keys [error-logger warn-logger event-logger event-names]}]
  (set! (.errorLogger options) (logging/context-logger error-logger ContextLogger/ERROR_PRINTER))
  (set! (.warnLogger options)  (logging/context-logger warn-logger HttpServer/DEFAULT_WARN_LOGGER))
  (set! (.eventLogger options) (logging/event-logger event-logger))
  (set! (.eventNames options)  (logging/event-names event-names)))

;;;; All of them

(defn server-options
  "Throws what `run-server` throws for the address, TLS files and the access log; `check!` has found nothing wrong."
  ^org.httpkit.server.ServerOptions
  [handler
   {:keys [io-threads max-pending-bytes on-overflow body-buffer-size compression server-header
           legacy-unsafe-remote-addr? legacy-content-length? legacy-error-messages?
           stop-on-shutdown? shutdown-timeout interrupt-handlers?]
    :or   {server-header              ServerOptions/SERVER_HEADER
           legacy-unsafe-remote-addr? true
           legacy-content-length?     true
           legacy-error-messages?     true}
    :as   opts}]
  (let [options (ServerOptions.)]
    (doseq [[option number] (options/core-numbers (tables/server-table opts) (with-limits opts))]
      (.set options option number))
    (when io-threads        (set! (.ioThreads options)       (int (options/to-int io-threads))))
    (when max-pending-bytes (set! (.maxPendingBytes options) (int (options/to-int max-pending-bytes))))
    (set! (.compression options)         (Compression/of compression))
    (when body-buffer-size  (set! (.bodyBufferSize options)  (int (options/to-int body-buffer-size))))
    (when shutdown-timeout  (set! (.shutdownTimeout options) (int (options/to-int shutdown-timeout))))
    (set! (.stopOnShutdown options)      (boolean stop-on-shutdown?))
    (set! (.interruptHandlers options)   (boolean interrupt-handlers?))
    (set! (.overflow options)            (overflows (or on-overflow :close)))
    (set! (.serverHeader options)        (or server-header nil))
    (set! (.trustForwarded options)      (boolean legacy-unsafe-remote-addr?))
    (set! (.legacyContentLength options) (boolean legacy-content-length?))
    (set! (.errorMessages options)       (boolean legacy-error-messages?))
    (set-loggers! options opts)
    (set-access-log! options opts)
    (set-handler! options handler opts)
    (set-workers! options opts)
    (set-address! options opts)
    options))
