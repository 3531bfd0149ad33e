(ns ^:no-doc org.httpkit.server.sockets
  "Listening sockets that others opened for us, and the service manager that did. Not API."
  (:require [clojure.string :as str]
            [org.httpkit.options :as options]
            [org.httpkit.server.tls :as tls])
  (:import [java.nio.charset StandardCharsets]
           [org.httpkit.jni Native NativeLibrary]
           [org.httpkit.server ServerOptions]))

(set! *warn-on-reflection* true)

(def ^:private first-passed "The first descriptor that systemd passes; see sd_listen_fds(3)." 3)

(defn environment
  "That of the process, as a map."
  []
  (into {} (System/getenv)))

(defn- number-of [^String text]
  (when (and text (re-matches #"\d{1,9}" text))
    (Long/parseLong text)))

(defn- unset
  "What `env` lacks of what systemd sets."
  [{:strs [LISTEN_PID LISTEN_FDS]}]
  (cond
    (not (or LISTEN_PID LISTEN_FDS)) "LISTEN_PID and LISTEN_FDS are not set"
    (not LISTEN_PID)                 "LISTEN_PID is not set"
    (not LISTEN_FDS)                 "LISTEN_FDS is not set"
    :else                            (str "LISTEN_FDS is " (pr-str LISTEN_FDS))))

(defn- passed
  "Names of the descriptors that systemd passed to this process, in their order: an empty text for one without a name."
  [env]
  (let [pid (env "LISTEN_PID"), n (number-of (env "LISTEN_FDS"))]
    (when-not (and pid n (pos? (long n)))
      (options/refuse! ":listen-socket :systemd: no socket was passed to this process (" (unset env)
        "): start it from a .socket unit, or with systemd-socket-activate"))
    (when-not (= pid (str (NativeLibrary/processId)))
      (options/refuse! ":listen-socket :systemd: the sockets were passed to process " pid ", and this is "
        (NativeLibrary/processId) ": a script that starts java must do it with exec"))
    (take n (concat (some-> (env "LISTEN_FDNAMES") (str/split #":" -1)) (repeat "")))))

(defn- named [env socket-name]
  (let [names (passed env), at (.indexOf ^java.util.List (vec names) socket-name)]
    (when (neg? at)
      (options/refuse! ":listen-socket: systemd passed no socket with the name " (pr-str socket-name)
        ", but " (str/join ", " (map pr-str names)) ": see FileDescriptorName= of systemd.socket(5)"))
    (+ (long first-passed) at)))

(defn- only-or
  "The descriptor of the only socket, or of the one with this name."
  [env socket-name]
  (if (= 1 (count (passed env)))
    first-passed
    (named env socket-name)))

(defn- https
  "The descriptor of the socket called https; nil if there is none."
  [env]
  (when (some #{"https"} (passed env))
    (named env "https")))

(defn check-together!
  "Throws if options about where to listen exclude each other."
  [{:keys [listen-socket unix-socket address-finder channel-factory reuse-port?] :as opts}]
  (doseq [[wrong? message]
          [[(and listen-socket unix-socket)    ":listen-socket and :unix-socket: expected one of them"]
           [(and address-finder (or listen-socket unix-socket))
            ":address-finder and :listen-socket or :unix-socket: expected one of them"]
           [(and channel-factory (or listen-socket unix-socket))
            ":channel-factory and :listen-socket or :unix-socket: expected one of them"]
           [(and unix-socket (not (tls/plain? opts)))
            ":unix-socket with :http? false: plain HTTP is what it is for"]
           [(and reuse-port? (or listen-socket unix-socket))
            ":reuse-port? with :listen-socket or :unix-socket: expected :port"]]
          :when wrong?]
    (options/refuse! message)))

(defn- descriptor
  "Of `v`, the value of `:listen-socket`; of several from systemd, of that called `socket-name`."
  [v env socket-name]
  (cond
    (= v :inherited) 0
    (= v :systemd)   (only-or env socket-name)
    (map? v)         (or (:fd v) (named env (:name v)))
    :else            v))

(defn descriptors
  "Of the sockets that listen already, from `:listen-socket`: {:plain fd :tls fd}, either nil; `env` is the process's
  environment. With `:http? false` the socket is for TLS. systemd may pass one for each, called http and https; then no
  other is bound for TLS."
  [{:keys [listen-socket] :as opts} env]
  (cond
    (not listen-socket)     {}
    (not (tls/plain? opts)) {:tls (descriptor listen-socket env "https")}
    (and (= :systemd listen-socket) (tls/wanted? opts) (https env))
    {:plain (named env "http") :tls (https env)}
    :else                   {:plain (descriptor listen-socket env "http")}))

(defn set-socket!
  "Sets where to listen from `:listen-socket` or `:unix-socket`. Returns false if there is neither."
  [^ServerOptions options {:keys [listen-socket unix-socket unix-socket-replace?]
                           :or   {unix-socket-replace? true} :as opts}]
  (let [{:keys [plain tls]} (descriptors opts (environment))]
    (when (or (keyword? listen-socket) (:name listen-socket))
      (set! (.listenSocketName options) (pr-str listen-socket)))
    (when plain (set! (.listenSocket options) (int plain)))
    (when tls   (set! (.tlsListenSocket options) (int tls))))
  (when unix-socket
    (set! (.unixSocket options) (str unix-socket))
    (.set options "unix-socket-replace?" (if unix-socket-replace? 1 0)))
  (boolean (or listen-socket unix-socket)))

(defn notify!
  "Tells the service manager of `env`; false if there is none."
  [^String state env]
  (if-let [socket (not-empty (env "NOTIFY_SOCKET"))]
    (do (NativeLibrary/load)
        (Native/notifyManager (.getBytes ^String socket StandardCharsets/UTF_8)
                              (.getBytes state StandardCharsets/UTF_8))
        true)
    false))
