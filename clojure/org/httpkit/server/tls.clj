(ns ^:no-doc org.httpkit.server.tls
  "The TLS options of `run-server`. Not API."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables])
  (:import
   [java.net InetAddress InetSocketAddress]
   [java.security.cert X509Certificate]
   [org.httpkit.server ServerOptions TlsOptions TlsOptions$ClientAuth]
   [org.httpkit.tls Certificates]))

(set! *warn-on-reflection* true)

(def default-ip "0.0.0.0")

(def default-port 8090)

(def ^:private default-tls-port 443)

(defn wanted?
  "Whether the options ask for a TLS port."
  [{:keys [ssl? ssl-port]}]
  (boolean (if (some? ssl?) ssl? ssl-port)))

(defn plain?
  "Whether plain HTTP is served."
  [opts]
  (boolean (get opts :http? true)))

(defn- tls-port [{:keys [ssl-port]}]
  (or ssl-port default-tls-port))

(defn identities
  "The maps of `:tls`."
  [{:keys [tls]}]
  (if (map? tls) [tls] (or tls nil)))

(defn- check-ports!
  "Unless only one of the two is bound."
  [{:keys [port address-finder listen-socket unix-socket] :or {port default-port} :as opts}]
  (when (and (plain? opts) (not (or address-finder listen-socket unix-socket))
             (== (long port) (long (tls-port opts)))
             (not (zero? (long port))))
    (options/refuse! ":port and :ssl-port are both " (long port) ": expected two ports")))

(defn check!
  "Throws if TLS options that are valid alone are wrong together."
  [{:keys [keystore tls ssl-context] :as opts}]
  (when ssl-context
    (options/refuse! ":ssl-context cannot be used: keys cannot be taken out of an SSLContext."
      " Give :keystore (a file or a java.security.KeyStore) or :tls {:cert ... :key ...}"))
  (if (wanted? opts)
    (cond
      (not (or keystore (identities opts)))
      (options/refuse! ":ssl-port " (tls-port opts) " needs a certificate: give :keystore or :tls")
      (and keystore tls)
      (options/refuse! ":keystore and :tls are both given: expected one of them")
      :else (check-ports! opts))
    (when-not (plain? opts)
      (options/refuse! ":http? false needs :ssl-port, or :ssl? true: otherwise the server listens nowhere")))
  (doseq [pem (identities opts)]
    (options/check tables/tls-identity pem)
    (doseq [k [:cert :key] :when (nil? (k pem))]
      (options/refuse! ":tls without " k ": expected {:cert path :key path}"))))

(def ^:private without-effect
  "Options of other servers -> why they have no effect here."
  (let [suites   "all suites offered are forward secret AEAD suites"
        versions "only TLSv1.3 and TLSv1.2 are offered, see :ssl-protocols"]
    {:exclude-ciphers            suites
     :include-ciphers            suites
     :replace-exclude-ciphers?   suites
     :exclude-protocols          versions
     :replace-exclude-protocols? versions}))

(defn known
  "The options without those of other servers that are warned of here."
  [opts]
  (reduce dissoc opts (conj (keys without-effect) :ssl-context)))

(defn warnings
  "Warnings about the TLS options, as texts."
  [opts]
  (concat
    (for [[k why] (sort without-effect) :when (some? (k opts))]
      (str k " has no effect: " why))
    (mapcat #(options/unknown-names ":tls" tables/tls-identity %) (identities opts))))

(defn- chars-of ^chars [password]
  (if (string? password) (.toCharArray ^String password) password))

(def ^:private client-auths
  {nil   TlsOptions$ClientAuth/NONE
   false TlsOptions$ClientAuth/NONE
   :none TlsOptions$ClientAuth/NONE
   :want TlsOptions$ClientAuth/WANT
   :need TlsOptions$ClientAuth/NEED})

(defn- material
  ^TlsOptions
  [{:keys [keystore keystore-type key-password key-manager-password
           truststore truststore-type trust-password
           client-auth ssl-protocols ssl-redirect? keystore-scan-interval]
    :or   {keystore-scan-interval TlsOptions/DEFAULT_SCAN_SECONDS}
    :as   opts}]
  (let [made (TlsOptions.)]
    (when keystore
      (.keyStore made keystore keystore-type (chars-of key-password) (chars-of key-manager-password)))
    (when truststore
      (.trustStore made truststore truststore-type (chars-of trust-password)))
    (doseq [{:keys [cert key key-password ca crl ocsp]} (identities opts)]
      (.certificate made cert key (chars-of key-password) ocsp)
      (when ca (.authorities made ca))
      (when crl (.revocations made crl)))
    (when ssl-protocols
      (.protocols made (into-array String ssl-protocols)))
    (doto made
      (.clientAuth (client-auths client-auth))
      (.redirect (boolean ssl-redirect?))
      (.scanSeconds (int (options/to-int (or keystore-scan-interval 0)))))))

(defn- address
  "Where the TLS port is: at the IP address of plain HTTP, or of `:ip` if that has none."
  ^InetSocketAddress [plain {:keys [ip] :or {ip default-ip} :as opts}]
  (let [port (int (options/to-int (tls-port opts)))]
    (cond
      (not (instance? InetSocketAddress plain))     (InetSocketAddress. (InetAddress/getByName ip) port)
      (.isUnresolved ^InetSocketAddress plain)      plain ; refused when it is bound
      :else (InetSocketAddress. (.getAddress ^InetSocketAddress plain) port))))

(defn set-tls!
  "Sets the TLS port, and no other port if the options say so; `.address` is that of
  plain HTTP, and `.tlsListenSocket` a socket that listens for TLS already."
  [^ServerOptions options opts]
  (when (wanted? opts)
    (set! (.tls options) (material opts))
    (when (neg? (.tlsListenSocket options))
      (set! (.tlsAddress options) (address (.address options) opts)))
    (when-not (plain? opts)
      (set! (.address options) nil))))

(defn description
  "A server's certificate as data."
  [^X509Certificate certificate]
  {:subject   (Certificates/subject certificate)
   :names     (vec (Certificates/names certificate))
   :not-after (.getNotAfter certificate)})
