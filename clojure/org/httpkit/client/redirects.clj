(ns ^:no-doc org.httpkit.client.redirects
  "The request that follows a redirect. Not API."
  (:require
   [org.httpkit.headers :as headers])
  (:import
   [java.io InputStream]
   [java.net URI]
   [java.nio ByteBuffer]
   [java.util Locale Map]
   [org.httpkit Authority HttpUtils]
   [org.httpkit.client Location]))

(set! *warn-on-reflection* true)

(def ^:private body-headers
  #{"content-encoding" "content-length" "content-type" "transfer-encoding"})

(def ^:private origin-headers
  #{"authorization" "cookie" "host"})

(defn redirect?
  "Is `status` a redirect that is followed?"
  [^long status]
  (case status (301 302 303 307 308) true false))

(defn- origin [^String url]
  (let [uri        (URI. url)
        lower-case #(some-> ^String % (.toLowerCase Locale/ROOT))]
    [(lower-case (.getScheme uri)) (lower-case (.host (Authority/of uri))) (HttpUtils/getPort uri)]))

(defn- one-shot? [x]
  (or (instance? InputStream x) (instance? ByteBuffer x)))

(defn one-shot-body?
  "Can the body of a request be sent only once?"
  [{:keys [body form-params multipart]}]
  (or (some (fn [{:keys [content]}] (one-shot? content)) multipart)
      (and (not (or form-params multipart)) (one-shot? body))))

(defn- without-body [{:keys [method headers] :as opts}]
  (-> opts
      (dissoc :body :form-params :multipart)
      (assoc :method  (if (= method :head) :head :get)
             :headers (not-empty (headers/without headers body-headers)))))

(defn- with-body [opts]
  (when (one-shot-body? opts)
    (throw (Exception. "Cannot replay one-shot request body across redirect")))
  (assoc opts :method (or (:method opts) :get)))

(defn- without-credentials
  "Keeps those for a proxy if there is one: it is still the same."
  [{:keys [headers proxy-url proxy-host] :as opts}]
  (let [names (cond-> origin-headers
                (not (or proxy-url proxy-host)) (conj "proxy-authorization"))]
    (-> opts
        (dissoc :basic-auth :oauth-token)
        (assoc :headers (not-empty (headers/without headers names))))))

(defn- next-hop
  "Options of the request that follows the redirect. Throws for invalid redirects."
  [opts ^String url status ^String location]
  (let [to (Location/resolve url location)]
    (cond-> (if (or (contains? #{307 308} status) (:allow-unsafe-redirect-methods opts))
              (with-body opts)
              (without-body opts))
      (not= (origin url) (origin to)) (without-credentials)
      true (-> (dissoc :query-params)
               (assoc :url to)))))

(defn follow
  "Options of the request that follows, with its trace."
  [{:keys [trace-redirects max-redirects] :as opts} url status ^Map headers]
  (let [trace         (vec trace-redirects)
        max-redirects (if (nil? max-redirects) 10 max-redirects)]
    (when (>= (count trace) (long max-redirects))
      (throw (Exception. (str "too many redirects: " max-redirects))))
    (if-let [location (.get headers "location")]
      (assoc (next-hop opts url status location) :trace-redirects (conj trace url))
      (throw (Exception. "No location header is present on redirect response")))))
