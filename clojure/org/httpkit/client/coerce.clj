(ns ^:no-doc org.httpkit.client.coerce
  "Converts the options of `request` for Java's client. Not API."
  (:require
   [org.httpkit.headers :as headers]
   [org.httpkit.client.params  :as params]
   [org.httpkit.encode  :refer [base64-encode]]
   [org.httpkit.options :as options]
   [org.httpkit.options.client :as client-options])
  (:import
   [clojure.lang Keyword]
   [java.util List Locale Map]
   [org.httpkit HttpMethod]
   [org.httpkit.client MultipartBody MultipartEntity RequestConfig RespListener]))

(set! *warn-on-reflection* true)

(defn- basic-auth-value [basic-auth]
  (let [^String pair (if (string? basic-auth)
                       basic-auth
                       (str (first basic-auth) ":" (second basic-auth)))]
    (str "Basic " (base64-encode (.getBytes pair "UTF-8")))))

(defn- text
  "`v`, the value of `k` in a part, or ClassCastException, as in http-kit."
  ^String [k v]
  (when-not (or (nil? v) (string? v))
    (throw (ClassCastException. (str k " " (options/shown v) " of a part of :multipart: expected a String"))))
  v)

(defn- multipart-entity
  "Of a map, or a seq of keys and values."
  [part]
  (when-not (or (instance? Map part) (seq? part))
    (options/refuse! "part of :multipart " (if (nil? part) "nil" (str "of class " (.getName (class part))))
      ": expected a map {:name _ :content _}"))
  (let [{:keys [name content filename content-type]} part]
    (MultipartEntity. (text :name name) content (text :filename filename) (text :content-type content-type))))

(defn- multipart-entities ^List [multipart form-params]
  (mapv multipart-entity
        (into (list* multipart)
              (map (fn [[k v]] {:name (params/name-of k) :content (str v)}))
              (params/pairs form-params))))

(defn- with-multipart [{:keys [multipart multipart-mixed? form-params] :as req} encode]
  (let [entities (multipart-entities multipart form-params)
        boundary (MultipartEntity/genBoundary entities)
        mixed?   (boolean multipart-mixed?)]
    (-> req
        (update :headers headers/with "Content-Type"
                (str (if mixed? "multipart/mixed" "multipart/form-data") "; boundary=" boundary))
        (assoc :body (encode boundary entities mixed?)))))

(defn- coerce-body [{:keys [multipart form-params nested-param-style] :as req} encode]
  (cond
    multipart   (with-multipart req encode)
    form-params (-> req
                    (update :headers headers/with "Content-Type" "application/x-www-form-urlencoded")
                    (assoc :body (params/query-string form-params nested-param-style)))
    :else       req))

(defn- coerce-method
  "An HttpMethod, or the name of a method without a constant there."
  [^Keyword method]
  (if (client-options/further-methods method)
    (.toUpperCase (name method) Locale/ROOT)
    (HttpMethod/fromKeyword method)))

(defn- coerce-with
  "`encode` makes the body from boundary, multipart entities and `mixed?`."
  [{:keys [url method query-params nested-param-style basic-auth oauth-token user-agent] :as req}
   encode]
  (cond-> (assoc req
            :method  (coerce-method (or method :get))
            :headers (:headers req)
            :body    (:body req))
    query-params (assoc :url (params/add-query url query-params nested-param-style))
    true         (coerce-body encode)
    oauth-token  (update :headers headers/with "Authorization" (str "Bearer " oauth-token))
    (and basic-auth (not oauth-token))
    (update :headers headers/with "Authorization" (basic-auth-value basic-auth))
    user-agent   (update :headers headers/with "User-Agent" user-agent)))

(defn close-sources!
  "Closes the streams in `opts`, which would have been read if `why` had not been thrown."
  [opts ^Throwable why]
  (MultipartBody/abandon (:body opts) why)
  (try (doseq [part (:multipart opts)]
         (try (let [{:keys [content]} part]
                (MultipartBody/abandon content why))
              (catch Throwable _))) ; A part that cannot be destructured may be why.
       (catch Throwable _))) ; As may parts that are no sequence.

(defn request
  "The request map with its options folded into `:url`, `:method` (see
  `coerce-method`), `:headers` and `:body`."
  [req]
  (coerce-with req (fn [boundary entities mixed?]
                     (MultipartEntity/encode boundary entities mixed?))))

(defn streamed-request
  "As `request`, but large files in a multipart body are not read into memory, nor streams if it is sent in chunks."
  [{:keys [chunked?] :as req}]
  (coerce-with req (fn [boundary entities mixed?]
                     (MultipartBody/of boundary entities mixed? (boolean chunked?)))))

(defn response-kind
  "Java's number for a value of `:as`."
  ^long [as]
  (long (case as
          :none           RespListener/NONE
          :auto           RespListener/AUTO
          :text           RespListener/TEXT
          :stream         RespListener/STREAM
          :byte-array     RespListener/BYTES
          :raw-byte-array RespListener/RAW_BYTES)))

(defn request-config
  "The RequestConfig of a coerced request, its options, and its call's control."
  ^RequestConfig
  [{:keys [method headers body]}
   {:keys [timeout connect-timeout idle-timeout keepalive proxy-url proxy-host proxy-port tunnel?
           auto-compression? insecure? pool-timeout chunked? proxy-tunnel? max-response-bytes]
    :or {connect-timeout 60000 idle-timeout 60000 keepalive 120000 proxy-port -1
         tunnel? false auto-compression? true}}
   {:keys [deadline deadline-at]}]
  (when-not (or (nil? headers) (instance? Map headers))
    (throw (ClassCastException. (str "request :headers of " (class headers) ": expected a map"))))
  (let [config (RequestConfig. (when (instance? HttpMethod method) method) headers body
                               (options/to-int (or timeout connect-timeout))
                               (options/to-int (or timeout idle-timeout))
                               (options/to-int keepalive)
                               (if proxy-host (str proxy-host ":" proxy-port) proxy-url)
                               (boolean tunnel?) (boolean auto-compression?) (boolean insecure?))]
    (when (string? method) (.method config method))
    (when deadline     (.deadline config (options/to-int deadline) (long deadline-at)))
    (when pool-timeout (.poolTimeout config (options/to-int pool-timeout)))
    (when max-response-bytes (.maxResponseBytes config (long max-response-bytes)))
    (.chunked config (boolean chunked?))
    (.proxyTunnel config (boolean proxy-tunnel?))))
