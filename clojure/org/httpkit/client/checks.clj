(ns ^:no-doc org.httpkit.client.checks
  "What is wrong with the arguments of a request or client: exceptions, and warnings once each; how messages name a
  request. Not API."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.options.client :as client-options]
   [org.httpkit.options.typos :as typos])
  (:import
   [java.net URI URISyntaxException]
   [java.util Locale Map]
   [org.httpkit Authority HttpUtils]))

(set! *warn-on-reflection* true)

(def ^:private warned
  "Names that a warning was given for: every request would repeat it."
  (atom #{}))

(defn warn-of-unknown! [what known opts]
  (doseq [k (remove known (keys opts))]
    (when (options/first-time! warned [what k])
      (HttpUtils/printWarning (options/unknown-name what known k)))))

(defn warn-of-unknown-events! [event-names]
  (when (instance? Map event-names)
    (warn-of-unknown! ":event-names" options/events event-names)))

(defn- warn-of-slip!
  "Of the name `k`, if it is nearly that of an option in the table `known`, and `concerned?` says so of that option."
  [what known concerned? opts k]
  (when (options/first-time! warned [what k])
    (when-let [meant (typos/slip known opts k)]
      (when (concerned? meant)
        (HttpUtils/printWarning (str k " is no option of " what "; did you mean " meant "?"))))))

(defn- warn-of-replaced!
  "Of a wrong value of option `k`, which `:timeout` replaces: http-kit does not look at it, so it must not throw."
  [opts k]
  (when-some [v (get opts k)]
    (let [[valid? expectation] (client-options/request k)]
      (when (and (not (valid? v)) (options/first-time! warned [:replaced k]))
        (HttpUtils/printWarning (str k " " (options/shown v) ": expected " expectation "; :timeout replaces it"))))))

(defn check-request!
  "Throws for invalid values, and warns of names that are nearly those of options:
  all others are returned in `:opts`."
  [opts]
  (options/check client-options/request
    (cond-> opts
      (not (contains? opts :url)) (assoc :url nil)
      (:timeout opts)             (dissoc :connect-timeout :idle-timeout))
    #(warn-of-slip! "request" client-options/request some? opts %))
  (when (:timeout opts)
    (warn-of-replaced! opts :connect-timeout)
    (warn-of-replaced! opts :idle-timeout))
  (when (and (:proxy-tunnel? opts) (not-any? #(contains? opts %) [:proxy-url :proxy-host]))
    (options/refuse! ":proxy-tunnel? true has no effect without :proxy-url")))

(defn check-headers!
  "As `check-request!` does, for those who look at the headers before it."
  [opts]
  (options/check client-options/request (select-keys opts [:headers])))

(defn warn-of-source-slips!
  "As `check-request!` does, for names that are nearly those of options which only `org.httpkit.sse/connect` has."
  [opts]
  (let [known (merge client-options/request client-options/event-source)]
    (doseq [k (when (map? opts) (remove known (keys opts)))]
      (warn-of-slip! "sse/connect" known client-options/event-source opts k))))

(defn forced
  "Value of option `k`, forced if it is a delay."
  [opts k]
  (let [given (get opts k)
        value (force given)]
    (when (delay? given)
      (options/check client-options/request {k value}))
    value))

(defn request-map
  "The options of a request, or ClassCastException, as in http-kit, if they are no map."
  [opts]
  (cond
    (or (nil? opts) (map? opts)) opts
    (instance? Map opts)         (into {} opts)
    :else (throw (ClassCastException. (str "options " (options/shown opts) " of request: expected a map")))))

(defn check-callback! [callback]
  (when-not (or (not callback) (ifn? callback))
    (options/refuse! "callback " (options/shown callback) ": expected a function of the response")))

(defn description
  "Of a request, for messages: without credentials, and without a query, which may hold some."
  [{:keys [method]} ^String url]
  (let [uri       (try (URI. url) (catch URISyntaxException _ nil))
        authority (some-> uri (Authority/of))
        port      (if authority (.port ^Authority authority) -1)]
    (str (.toUpperCase (name (or method :get)) Locale/ROOT) " "
      (if-let [host (some-> ^Authority authority (.host))]
        (str (.getScheme ^URI uri) "://" host (when-not (neg? port) (str ":" port)) (.getRawPath ^URI uri))
        "an invalid URL"))))
