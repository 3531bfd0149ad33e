(ns ^:no-doc org.httpkit.options.server
  "The allowed values of the options of servers, channels, topics and events, in tables as
  `org.httpkit.options` describes them. Not API."
  (:require
   [org.httpkit.options :refer [any-int anything class-thrown core event-names function illegal integer limit one-of
                                optional shown to-int truncated unless-default unless-none worker]])
  (:import
   [java.io File]
   [java.net ServerSocket URL]
   [java.nio.channels ServerSocketChannel]
   [java.nio.file Path]
   [java.security KeyStore]
   [java.util Map]
   [java.util.concurrent ExecutorService]
   [org.httpkit.jni Abi]
   [org.httpkit.server AsyncChannel Compression HttpServer$AddressFinder HttpServer$ServerChannelFactory]))

(set! *warn-on-reflection* true)

(def server-worker
  "Of the server's `new-worker`, with older names."
  (assoc worker
    :thread             (:n-threads worker)
    :worker-name-prefix (:prefix worker)))

(def ^:private overflow (one-of :close :block :reject))

(defn- compression-failure [v]
  (try (Compression/of v) nil
       (catch IllegalArgumentException e e)))

(def ^:private compression
  "Java's own check names the option inside the map."
  [#(nil? (compression-failure %)) "true, false or a map" (fn [_ v] (compression-failure v))])

(defn- source? [v]
  (or (string? v) (instance? File v) (instance? Path v) (instance? URL v)))

(def ^:private source
  [source? "a path, a File, a URL or \"classpath:...\"" class-thrown])

(def ^:private store
  (unless-none [#(or (source? %) (instance? KeyStore %))
                "a path, a File, a URL, \"classpath:...\" or a KeyStore" class-thrown]))

(def ^:private text (unless-none [string? "a String" class-thrown]))

(def ^:private password
  (unless-none ^:secret [#(or (string? %) (instance? (class (char-array 0)) %)) "a String" class-thrown]))

(def tls-identity
  "Of a map in `:tls` of `run-server`."
  {:cert         (optional source)
   :key          (optional source)
   :key-password password
   :ca           (optional source)
   :crl          (optional source)
   :ocsp         (optional source)})

(defn- versions-thrown [^String message v]
  (illegal (if (and (vector? v) (< (count v) 10)) (str ":http-versions " v ": expected [:http1]") message) v))

(def ^:private tls
  "Of the TLS port of `run-server`."
  (merge
    (zipmap [:ssl? :http? :ssl-redirect?] (repeat anything))
    {:ssl-port               (unless-none (integer 0 65535))
     :keystore               store
     :keystore-type          text
     :key-password           password
     :key-manager-password   password
     :truststore             store
     :truststore-type        text
     :trust-password         password
     :client-auth            (unless-none (one-of :none :want :need))
     :ssl-protocols          (unless-none [#(and (or (sequential? %) (set? %)) (seq %) (every? string? %))
                                           "a vector of \"TLSv1.3\" and \"TLSv1.2\""])
     :keystore-scan-interval limit
     :tls                    (unless-none [#(or (map? %) (and (sequential? %) (seq %) (every? map? %)))
                                           "{:cert path :key path}, or a vector of such maps"])
     :http-versions          (unless-none [#(= [:http1] %) "[:http1]" versions-thrown])}))

(defn- path-like? [v]
  (or (string? v) (instance? File v) (instance? Path v)))

(defn- path?
  "Whether `v` is nil, or a path. The system would end one at a NUL."
  [v]
  (or (not v) (and (path-like? v) (re-matches #"[^\x00]+" (str v)))))

(defn- descriptor? [v]
  (and (integer? v) (<= 0 v Integer/MAX_VALUE)))

(defn- wrong-keys-of-socket
  "What is wrong with the keys of `v`, the value of `:listen-socket`, as a text, or nil."
  [v]
  (when (map? v)
    (let [[other] (remove #{:fd :name} (keys v))]
      (cond
        other                              (str "the key " (shown other) ": expected :fd or :name")
        (every? some? [(:fd v) (:name v)]) ":fd and :name: expected one of them"))))

(def ^:private listen-socket
  [#(or (not %) (#{:systemd :inherited} %) (descriptor? %)
        (and (map? %) (nil? (wrong-keys-of-socket %)) (or (descriptor? (:fd %)) (string? (:name %)))))
   "a descriptor, :systemd, :inherited, or a map of :fd or :name, or nil"
   (fn [message v]
     (if (or (instance? ServerSocketChannel v) (instance? ServerSocket v))
       (illegal (str message "; the JDK does not give the descriptors of its sockets away") v)
       (illegal (if-let [wrong (wrong-keys-of-socket v)] (str ":listen-socket has " wrong) message) v)))])

(defn- file? [v]
  (and v (path? v)))

(defn- label-name? [v]
  (or (string? v) (keyword? v)))

(defn function?
  "Whether `v` is a function, and nothing else that can be called."
  [v]
  (and (ifn? v) (not (or (keyword? v) (symbol? v) (coll? v)))))

(def ^:private access-log-entries
  {:file   [#(or (= :stdout %) (file? %)) "a path or :stdout"]
   :format (one-of :combined :common :json)})

(defn- wrong-in-access-log
  "What is wrong in the map `m`, as a text, or nil."
  [m]
  (some (fn [[k v]]
          (let [[allowed? expectation] (access-log-entries k)]
            (cond
              (nil? allowed?)    (str (shown k) ": expected :file or :format")
              (not (allowed? v)) (str (shown k) " " (shown v) ": expected " expectation))))
        ;; What is given first: a missing :file may be there under another name.
        (cond-> (vec m) (not (contains? m :file)) (conj [:file nil]))))

(def ^:private access-log
  [#(if (map? %)
      (nil? (wrong-in-access-log %))
      (or (not %) (= :stdout %) (file? %) (function? %)))
   "a function of an entry, a path, :stdout, {:file path or :stdout, :format :combined, :common or :json}, or nil"
   (fn [message v] (illegal (if (map? v) (str ":access-log " (wrong-in-access-log v)) message) v))])

(defn- header-value? [v]
  (and (string? v) (not (re-find #"[\x00-\x08\x0a-\x1f\x7f]" v))))

(def server
  "Of `run-server`. `new-worker` checks the options of its worker pool."
  (merge
    (zipmap (keys server-worker) (repeat anything))
    tls
    {:ip                          [string? "a host name or an address, as a String" class-thrown]
     :port                        (truncated 0 65535)
     :worker-pool                 [#(or (not %) (delay? %) (instance? ExecutorService %))
                                   "an ExecutorService, a delay of one, or nil" class-thrown]
     :pool-opts                   (unless-none [map? "a map of options for new-worker"])
     :max-body                    (core any-int)
     :request-buffer-size         (core (unless-none (integer 0)) #(if % (to-int %) -1))
     :body-window                 (core (unless-none (integer 1)) unless-default)
     :max-ws                      (core any-int)
     :max-line                    (core any-int)
     :max-headers                 (core limit)
     :max-header-bytes            (core limit)
     :max-connections             (core limit)
     :max-connections-per-ip      (core limit)
     :max-requests-per-connection (core limit)
     :header-timeout              (core limit)
     :idle-timeout                (core limit)
     :body-timeout                (core limit)
     :write-timeout               (core limit)
     :handler-timeout             (core limit)
     :ws-idle-timeout             (core limit)
     :legacy-timeouts?            anything
     :proxy-protocol              (core (one-of :disable :enable :optional)
                                        {:disable  Abi/PROXY_DISABLE
                                         :enable   Abi/PROXY_ENABLE
                                         :optional Abi/PROXY_OPTIONAL})
     :server-header               [#(or (not %) (header-value? %))
                                   "a String without control characters, or nil for no header"
                                   #(if (string? %2) (illegal %1 %2) (class-thrown %1 %2))]
     :ring-async?                 anything
     :legacy-unsafe-remote-addr?  anything
     :legacy-content-length?      anything
     :legacy-error-messages?      anything
     :legacy-return-value?        anything
     :error-logger                (function "message and throwable")
     :warn-logger                 (function "message and throwable")
     :event-logger                (function "the event's name")
     :event-names                 event-names
     :address-finder              [#(or (not %) (ifn? %) (instance? HttpServer$AddressFinder %))
                                   "a function without arguments, or an HttpServer$AddressFinder"]
     :channel-factory             [#(or (not %) (ifn? %) (instance? HttpServer$ServerChannelFactory %))
                                   "a function of an address, or an HttpServer$ServerChannelFactory"]
     :listen-socket               listen-socket
     :unix-socket                 [path? "a path, as a String, File or Path, or nil"
                                   #(if (path-like? %2) (illegal %1 %2) (class-thrown %1 %2))]
     :unix-socket-mode            (core (unless-none [#(and (integer? %) (<= 0 % 0777)) "permissions, such as 0660"
                                                      #(if (number? %2) (illegal %1 %2) (class-thrown %1 %2))])
                                        unless-default)
     :unix-socket-replace?        anything
     :reuse-port?                 (core anything #(if % 1 0))
     :io-threads                  (unless-none (integer 1))
     :backlog                     (core (unless-none (integer 1)) unless-default)
     :max-pending-messages        (core (unless-none (integer 1)) unless-default)
     :max-pending-bytes           (unless-none (integer 1))
     :on-overflow                 (unless-none overflow)
     :compression                 compression
     :body-buffer-size            (unless-none (integer 0))
     :access-log                  access-log
     :interrupt-handlers?         anything
     :max-buffered-bytes          (core (unless-none (integer 0 Long/MAX_VALUE)) #(long (or % 0)))
     :stop-on-shutdown?           anything
     :shutdown-timeout            (unless-none (integer 0))}))

(def streaming-server
  "Of `run-server` with `:request-buffer-size`: longer bodies need no memory, so `:max-body` may be any number."
  (assoc server
    :max-body (core (optional (truncated 0 Long/MAX_VALUE)) #(if % (long %) Long/MAX_VALUE))))

(defn server-table
  "The table for these options of `run-server`."
  [opts]
  (if (:request-buffer-size opts) streaming-server server))

(def channel
  "Of `as-channel`."
  {:init               (function "the channel")
   :on-open            (function "the channel")
   :on-receive         (function "channel and message")
   :on-ping            (function "channel and bytes")
   :on-close           (function "channel and status")
   :on-close-raw       (function "channel, code and reason")
   :on-handshake-error (function "the channel")
   :on-drain           (function "the channel")
   :max-pending-bytes  (unless-none (integer 1))
   :on-overflow        (unless-none overflow)
   :compression        compression
   :subprotocols       (unless-none [#(and (seqable? %) (not (string? %))) "a collection of Strings"])
   :headers            (unless-none [#(or (instance? Map %) (sequential? %)) "a map of headers"])
   :ping-interval      limit
   :ping-timeout       (unless-none (integer 1))})

(def ^:private field-value
  "Of an event, on one line: a line break would begin a forged field."
  #(not (re-find #"[\r\n\x00]" (str %))))

(def ^:private event-retry
  (optional [#(and (integer? %) (<= 0 %)) "msecs, an integer from 0"]))

(def event
  "Of a server-sent event."
  {:data    (optional [string? "a String"])
   :event   (optional [#(and (string? %) (field-value %)) "a String without CR, LF and NUL"])
   :id      (optional [#(and (or (string? %) (integer? %)) (field-value %))
                       "an integer, or a String without CR, LF and NUL"])
   :retry   event-retry
   :comment (optional [string? "a String"])})

(def broadcast
  "Of `org.httpkit.server/broadcast!`. `:block` is left to the channels: one slow peer
  must not keep the data from the others."
  {:close-after-send? anything
   :on-overflow       (optional (one-of :close :reject))})

(def publish
  "Of `org.httpkit.topics/publish!`."
  (assoc broadcast
    :except (optional [#(instance? AsyncChannel %) "a channel"])))

(def bridge
  "Of `org.httpkit.topics/bridge`."
  {:publish   [function? "a function of a topic and bytes"]
   :subscribe [function? "a function of a topic and a function of bytes"]})

(def event-stream
  "Of `org.httpkit.sse/stream`."
  (merge (select-keys channel [:on-open :on-close :on-drain :max-pending-bytes :on-overflow :compression])
    {:heartbeat limit
     :retry     event-retry
     :headers   (optional [map? "a map of headers"])}))

(def event-callbacks
  "Of `org.httpkit.sse/connect`."
  {:on-open  (function "the response")
   :on-event (function "an event")
   :on-error (function "a throwable")
   :on-close (function "no arguments")})

(def monitoring
  "Of `org.httpkit.stats/micrometer-bind!` and `opentelemetry-bind!`."
  {:labels (optional [#(and (map? %) (every? label-name? (keys %)) (every? string? (vals %)))
                      "a map from Strings or keywords to Strings"])})

(def stop
  "Of `server-stop!` and the function that `run-server` returns."
  {:timeout any-int})

(def drain
  "Of `server-drain!`."
  {:timeout  (integer 0)
   :ws-grace (integer 0)})
