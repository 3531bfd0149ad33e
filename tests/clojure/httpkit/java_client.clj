(ns httpkit.java-client
  "Requests through the JDK's java.net.http, for tests that need a polite client."
  (:import [java.net URI]
           [java.net.http HttpClient HttpClient$Version HttpRequest HttpRequest$BodyPublisher HttpRequest$BodyPublishers
            HttpResponse HttpResponse$BodyHandlers]
           [java.time Duration]))

(def ^:private ^HttpClient client
  (-> (HttpClient/newBuilder)
      (.version HttpClient$Version/HTTP_1_1)
      (.connectTimeout (Duration/ofSeconds 10))
      (.build)))

(defn- publisher ^HttpRequest$BodyPublisher [body]
  (cond
    (nil? body)    (HttpRequest$BodyPublishers/noBody)
    (string? body) (HttpRequest$BodyPublishers/ofString body)
    (bytes? body)  (HttpRequest$BodyPublishers/ofByteArray body)
    ;; Of unknown length, so it goes out chunked.
    :else          (HttpRequest$BodyPublishers/ofInputStream
                     (reify java.util.function.Supplier (get [_] body)))))

(defn request
  "{:status int, :headers {lower-case-name [value]}, :body bytes} of one request to 127.0.0.1:`port`.

  Options: :method (default \"GET\"), :headers {name value}, :body (String, byte[], or InputStream: chunked)."
  [port path & {:keys [method headers body] :or {method "GET"}}]
  (let [builder (-> (HttpRequest/newBuilder (URI. (str "http://127.0.0.1:" port path)))
                    (.timeout (Duration/ofSeconds 30))
                    (.method method (publisher body)))]
    (doseq [[k v] headers]
      (.header builder k v))
    (let [^HttpResponse response (.send client (.build builder) (HttpResponse$BodyHandlers/ofByteArray))]
      {:status  (.statusCode response)
       :headers (into {} (.map (.headers response)))
       :body    (.body response)})))

(defn text
  "The body of `request`'s result as UTF-8 text."
  [{:keys [^bytes body]}]
  (String. body "UTF-8"))
